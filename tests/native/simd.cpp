// The vectors of one instruction set against the portable ones, function by function.
#include "common/target.h"

#include GLIC_TARGET_HEADER(simd)
#pragma push_macro("GLIC_SIMD")
#undef GLIC_SIMD
#define GLIC_SIMD portable
#include "common/simd_portable.h"
#pragma pop_macro("GLIC_SIMD")
// The instruction set comes first.
#include "check.h"

namespace test {
namespace {

namespace other = glic::GLIC_SIMD;
namespace plain = glic::portable;

constexpr int kWidth = other::kWidth;

uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}

float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}

bool same(float a, float b) { return bits_of(a) == bits_of(b) || (std::isnan(a) && std::isnan(b)); }

// Values of every kind: special ones, and any bits.
void fill(float* values, Random* random) {
    for (int i = 0; i < kWidth; ++i) {
        values[i] = random->bits() % 3 ? float_of(random->bits()) : kSpecial[random->from_to(0, 10)];
    }
}

// of(a, b) in each lane, as of() of the portable vectors computes it.
template <typename Of, typename PlainOf>
void require_same(Of of, PlainOf plain_of, const float* a, const float* b, const char* what) {
    float got[kWidth], want[kWidth];
    other::store(got, of(other::load(a), other::load(b)));
    for (int i = 0; i < kWidth; i += 4)
        plain::store(want + i, plain_of(plain::load(a + i), plain::load(b + i)));
    for (int i = 0; i < kWidth; ++i) require(same(got[i], want[i]), what, i);
}

// An expression of x and y with the functions of both namespaces.
#define GLIC_COMPARE(what, expression)                    \
    require_same(                                         \
        [](other::Vec x, [[maybe_unused]] other::Vec y) { \
            using namespace glic::GLIC_SIMD;              \
            return expression;                            \
        },                                                \
        [](plain::Vec x, [[maybe_unused]] plain::Vec y) { \
            using namespace glic::portable;               \
            return expression;                            \
        },                                                \
        a, b, what)

void compare_arithmetic(Random* random) {
    float a[kWidth], b[kWidth];
    fill(a, random), fill(b, random);
    GLIC_COMPARE("add", add(x, y));
    GLIC_COMPARE("sub", sub(x, y));
    GLIC_COMPARE("mul", mul(x, y));
    GLIC_COMPARE("div", div(x, y));
    GLIC_COMPARE("max", max(x, y));
    GLIC_COMPARE("min", min(x, y));
    GLIC_COMPARE("greater and select", select(greater(x, y), x, y));
    GLIC_COMPARE("sqrt", sqrt(x));

    float got[kWidth];
    other::store(got, other::fma(other::load(a), other::load(b), other::set(0.25f)));
    for (int i = 0; i < kWidth; ++i) require(same(got[i], std::fma(a[i], b[i], 0.25f)), "fma", i);
}

void compare_lanes(Random* random) {
    const uint32_t bits = random->bits() & ((1u << kWidth) - 1);
    require(other::bits_of(other::lanes_of(bits)) == bits, "bits_of lanes_of", bits);
    float got[kWidth];
    other::store(got, other::select(other::lanes_of(bits), other::set(1.0f), other::set(2.0f)));
    for (int i = 0; i < kWidth; ++i) require(got[i] == (bits >> i & 1 ? 1.0f : 2.0f), "select of lanes", i);

    float rows[kWidth][kWidth], total = 0.0f;
    other::Vec vectors[kWidth];
    for (int i = 0; i < kWidth; ++i) {
        for (float& value : rows[i]) value = static_cast<float>(random->from_to(-1000, 1000));
        vectors[i] = other::load(rows[i]);
    }
    for (const float value : rows[0]) total += value;
    require(other::sum(vectors[0]) == total, "sum");  // of integers, exact in any order
    other::transpose(vectors);
    for (int i = 0; i < kWidth; ++i) {
        other::store(got, vectors[i]);
        for (int j = 0; j < kWidth; ++j) require(got[j] == rows[j][i], "transpose", i);
    }
}

// Parts of vectors: what is behind them is neither read nor written.
template <typename T>
void compare_parts(Random* random) {
    for (int count = 0; count <= kWidth; ++count) {
        std::vector<T> from(static_cast<size_t>(count)), to(static_cast<size_t>(count));
        for (T& value : from) {
            const float number = static_cast<float>(random->from_to(-1000, 1000));
            float all[kWidth] = {number};
            T stored[kWidth];
            other::store(stored, other::load(all));
            value = stored[0];
        }
        const other::Vec loaded = other::load_some(from.data(), count);
        other::store_some(to.data(), loaded, count);
        if (count > 0)
            require(std::memcmp(from.data(), to.data(), sizeof(T) * from.size()) == 0, "parts", count);
        float values[kWidth];
        other::store(values, loaded);
        for (int i = count; i < kWidth; ++i) require(values[i] == 0.0f, "the rest of a part is 0", i);
    }
}

// Every float16 is read as the portable vectors read it.
void compare_halves() {
    for (uint32_t first = 0; first < 0x10000; first += kWidth) {
        uint16_t halves[kWidth];
        for (int i = 0; i < kWidth; ++i) halves[i] = static_cast<uint16_t>(first + static_cast<uint32_t>(i));
        float got[kWidth];
        other::store(got, other::load(halves));
        for (int i = 0; i < kWidth; ++i)
            require(same(got[i], plain::half_to_float(halves[i])), "float16", first + i);
    }
}

bool is_nan(uint16_t half, uint16_t infinity) { return (half & 0x7FFF) > infinity; }

void compare_rounding(Random* random) {
    float values[kWidth];
    fill(values, random);
    // Numbers that float16 holds, and halfway between two of them, as often as others.
    for (int i = 0; i < kWidth; i += 2) values[i] = float_of((random->bits() & 0x0FFFF000u) + 0x33000000u);
    uint16_t halves[kWidth];
    other::store(halves, other::load(values));
    glic::Bfloat16 got[kWidth], want[kWidth];
    other::store(got, other::load(values));
    for (int i = 0; i < kWidth; i += 4) plain::store(want + i, plain::load(values + i));
    for (int i = 0; i < kWidth; ++i) {
        const uint16_t half = plain::float_to_half(values[i]);
        require(halves[i] == half || (is_nan(halves[i], 0x7C00) && is_nan(half, 0x7C00)),
                "rounding to float16", i);
        require(got[i].bits == want[i].bits || (is_nan(got[i].bits, 0x7F80) && is_nan(want[i].bits, 0x7F80)),
                "rounding to bfloat16", i);
    }
    float read[kWidth];
    other::store(read, other::load(got));
    for (int i = 0; i < kWidth; ++i) require(bits_of(read[i]) == uint32_t{got[i].bits} << 16, "bfloat16", i);
}

void compare_powers(Random* random) {
    float x[kWidth], got[kWidth];
    for (float& value : x) value = random->uniform(-126.0f, 1.0f);
    x[0] = -126.5f, x[1] = kNotANumber, x[2] = -kInfinity, x[3] = 0.0f;
    other::store(got, other::exp2_negative(other::load(x)));
    require(got[0] == 0.0f && std::isnan(got[1]) && got[2] == 0.0f && got[3] == 1.0f, "special powers");
    for (int i = 4; i < kWidth; ++i) require(std::fabs(got[i] / std::exp2(x[i]) - 1.0f) < 2e-7f, "powers", i);
    for (int i = 0; i < 4; ++i) x[i] = random->uniform(-126.0f, 1.0f);
    other::store(got, other::exp2_negative(other::load(x)));
    for (int i = 0; i < 4; ++i) require(std::fabs(got[i] / std::exp2(x[i]) - 1.0f) < 2e-7f, "powers", i);
}

}  // namespace

void compare() {
    Random random(15);
    for (int i = 0; i < 5000; ++i) {
        compare_arithmetic(&random);
        compare_lanes(&random);
        compare_rounding(&random);
        compare_powers(&random);
    }
    compare_parts<float>(&random);
    compare_parts<uint16_t>(&random);
    compare_parts<glic::Bfloat16>(&random);
    compare_halves();
}

}  // namespace test

// In place of main.cpp: one instruction set, which the processor may lack.
int main() {
    if (glic_select_isa(GLIC_SIMD_NAME) != GLIC_OK) return 0;
    test::compare();
    std::printf("%s\n", GLIC_SIMD_NAME);
}
