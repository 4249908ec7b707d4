#include "integer/integer.h"

#include <array>

#include "check.h"
#include "glic_signatures.h"

namespace test {
namespace {

using Integers = std::vector<int32_t>;
using Floats = std::vector<float>;

constexpr float kWide = 8388607.0f;

// The constants of a node of an op: its inputs after the first.
template <typename Signature>
using ConstantsOf = std::array<glic::Constant, Signature::kInputs - 1>;

Integers integers(int64_t count, int64_t low, int64_t high, Random* random) {
    Integers values(static_cast<size_t>(count));
    for (int32_t& value : values) value = static_cast<int32_t>(random->from_to(low, high));
    return values;
}

// The constants of a layer, and the shapes that point into it.
struct Layer {
    int64_t sides[2];
    std::vector<int8_t> weight;
    Integers bias, shift;

    // spread: the largest weight and bias, and the range of the shifts.
    Layer(int64_t inputs, int64_t outputs, int64_t most_bias, int64_t most_shift, Random* random)
        : sides{inputs, outputs},
          weight(static_cast<size_t>(inputs * outputs)),
          bias(integers(outputs, -most_bias, most_bias, random)),
          shift(integers(outputs, 0, most_shift, random)) {
        for (int8_t& value : weight) value = static_cast<int8_t>(random->from_to(-128, 127));
    }

    void constants(glic::Constant* to) const {
        to[0] = {{sides, 2}, weight.data()};
        to[1] = {{sides + 1, 1}, bias.data()};
        to[2] = {{sides + 1, 1}, shift.data()};
    }
};

Floats linear(const Layer& layer, int64_t limit, const Floats& x) {
    ConstantsOf<glic::signatures::IntegerLinear> constants;
    layer.constants(constants.data());
    char message[GLIC_MESSAGE_SIZE];
    const auto made = glic::make_linear(constants.data(), limit, message);
    require(made != nullptr, "the layer is valid");
    const int64_t positions = static_cast<int64_t>(x.size()) / layer.sides[0];
    Floats y(static_cast<size_t>(positions * layer.sides[1]));
    require(glic::integer_linear(*made, x.data(), positions, y.data(), nullptr) == GLIC_OK, "IntegerLinear");
    return y;
}

// The weights of a layer are those of 5 × 5 taps: it has 25 inputs.
Floats depthwise(const Layer& layer, int64_t limit, int64_t height, const Floats& x) {
    ConstantsOf<glic::signatures::IntegerDepthwise> constants;
    layer.constants(constants.data());
    char message[GLIC_MESSAGE_SIZE];
    const auto made = glic::make_depthwise(constants.data(), limit, message);
    require(made != nullptr, message);
    const int64_t width = static_cast<int64_t>(x.size()) / (height * layer.sides[1]);
    Floats y(x.size());
    require(glic::integer_depthwise(*made, x.data(), height, width, y.data(), nullptr) == GLIC_OK,
            "IntegerDepthwise");
    return y;
}

struct Ffn {
    int64_t channels, hidden, entries[2] = {3072, 4096};
    Integers fraction, rsqrt, gelu, gate_shift;
    Layer in, out;
    glic::GatedFfnAttributes attributes;

    Ffn(int64_t c, int64_t h, bool trained, Random* random)
        : channels(c),
          hidden(h),
          fraction(integers(c, trained ? 9 : 0, 11, random)),
          rsqrt(3072),
          gelu(integers(4096, trained ? -4095 : -40000, trained ? 4095 : 40000, random)),
          gate_shift(integers(h, trained ? 8 : 0, trained ? 14 : 30, random)),
          in(c, 2 * h, 100000, trained ? 12 : 30, random),
          out(h, c, 100000, trained ? 12 : 30, random),
          attributes{random->from_to(0, trained ? 8 : 30), trained ? 511 : 32767, trained ? 511 : 32767} {
        for (int i = 0; i < 3072; ++i) {
            rsqrt[static_cast<size_t>(i)] =
                static_cast<int32_t>(std::lround(2048.0 * std::sqrt(1024.0 / (1024.0 + i))));
        }
    }

    std::unique_ptr<glic::PackedGatedFfn> make() const {
        ConstantsOf<glic::signatures::IntegerGatedFfn> constants;
        constants[0] = {{&channels, 1}, fraction.data()};
        constants[1] = {{entries, 1}, rsqrt.data()};
        in.constants(&constants[2]);
        constants[5] = {{entries + 1, 1}, gelu.data()};
        constants[6] = {{&hidden, 1}, gate_shift.data()};
        out.constants(&constants[7]);
        char message[GLIC_MESSAGE_SIZE];
        auto made = glic::make_gated_ffn(constants.data(), attributes, message);
        require(made != nullptr, message);
        return made;
    }
};

Floats gated_ffn(const Ffn& ffn, const Floats& stream) {
    Floats result(stream.size());
    const int64_t positions = static_cast<int64_t>(stream.size()) / ffn.channels;
    require(glic::integer_gated_ffn(*ffn.make(), stream.data(), positions, result.data(), nullptr) == GLIC_OK,
            "IntegerGatedFfn");
    return result;
}

Floats activations(int64_t count, float limit, Random* random) {
    Floats x(static_cast<size_t>(count));
    for (float& value : x) value = std::floor(random->uniform(-limit, limit + 1.0f));
    return x;
}

}  // namespace

void compare() {
    Random random(13);
    for (int i = 0; i < 60; ++i) {
        // Every activation of 16 bits, with weights of 8: sums that wrap around too.
        const Layer layer(random.from_to(1, 90), random.from_to(1, 90), i % 2 ? INT32_MAX : 100000, 30,
                          &random);
        Floats x = activations(layer.sides[0] * random.from_to(1, 110), i % 3 ? 32767.0f : 511.0f, &random);
        if (i % 4 == 0) add_special(&x, 20, &random);
        if (i % 5 == 0) std::fill(x.begin(), x.end(), i % 2 ? 1e9f : -1e9f);
        const int64_t limit = random.from_to(0, (1 << 23) - 1);
        Floats want;
        with_portable([&] { want = linear(layer, limit, x); });
        require(linear(layer, limit, x) == want, "IntegerLinear is the portable one's, bit for bit", i);
    }
    for (int i = 0; i < 40; ++i) {
        const Layer layer(25, random.from_to(1, 150), i % 2 ? INT32_MAX : 100000, 30, &random);
        const int64_t height = random.from_to(1, 9);
        Floats x =
            activations(height * random.from_to(1, 9) * layer.sides[1], i % 3 ? 32767.0f : 2047.0f, &random);
        if (i % 4 == 0) add_special(&x, 20, &random);
        const int64_t limit = random.from_to(0, (1 << 23) - 1);
        Floats want;
        with_portable([&] { want = depthwise(layer, limit, height, x); });
        require(depthwise(layer, limit, height, x) == want,
                "IntegerDepthwise is the portable one's, bit for bit", i);
    }
    for (int i = 0; i < 40; ++i) {
        const Ffn ffn(random.from_to(1, 130), random.from_to(1, 90), i % 2 == 0, &random);
        Floats stream = activations(ffn.channels * random.from_to(1, 110), i % 3 ? 60000.0f : kWide, &random);
        if (i % 4 == 0) add_special(&stream, 20, &random);
        Floats want;
        with_portable([&] { want = gated_ffn(ffn, stream); });
        require(gated_ffn(ffn, stream) == want, "IntegerGatedFfn is the portable one's, bit for bit", i);
    }
}

// A feed-forward network of the released models' entropy model, at 48 positions.
void run(int times) {
    Random random(14);
    const Ffn ffn(320, 1280, true, &random);
    const auto made = ffn.make();
    const Floats stream = activations(48 * 320, 60000.0f, &random);
    Floats result(stream.size());
    for (int i = 0; i < times; ++i) {
        require(glic::integer_gated_ffn(*made, stream.data(), 48, result.data(), nullptr) == GLIC_OK,
                "IntegerGatedFfn");
    }
}

}  // namespace test
