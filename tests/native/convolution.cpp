#include "convolution/convolution.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

struct Case {
    glic::ConvolutionAttributes attributes;
    int64_t images, height, width, channels, side, outputs;
    Floats x, weight, bias;

    Case(glic::ConvolutionAttributes chosen, int64_t side_of_filters, int64_t rows, int64_t columns,
         int64_t of_channels, int64_t filters, Random* random)
        : attributes(chosen),
          images(random->from_to(1, 2)),
          height(rows * chosen.stride),
          width(columns * chosen.stride),
          channels(of_channels),
          side(side_of_filters),
          outputs(filters * chosen.shuffle * chosen.shuffle),
          x(random->normals(images * height * width * channels)),
          weight(random->normals(side * side * channels * outputs,
                                 1.0f / std::sqrt(static_cast<float>(side * side * channels)))),
          bias(random->normals(outputs)) {}

    Floats compute(int32_t element) const {
        const int64_t sides[] = {side, side, channels, outputs};
        const glic::Constant constants[] = {{{sides, 4}, weight.data()}, {{sides + 3, 1}, bias.data()}};
        char message[GLIC_MESSAGE_SIZE];
        const auto layer = glic::make_convolution(constants, attributes, element, message);
        require(layer != nullptr, message);
        Floats out(static_cast<size_t>(images * (height / attributes.stride) * (width / attributes.stride) *
                                       outputs));
        require(glic::convolve(*layer, x.data(), images, height, width, out.data(), nullptr) == GLIC_OK,
                "Convolution");
        return out;
    }
};

}  // namespace

void compare() {
    Random random(23);
    for (int i = 0; i < 60; ++i) {
        const bool winograd = i % 3 == 0;
        const int64_t stride = winograd ? 1 : random.from_to(1, 2);
        const Case drawn({stride, random.from_to(1, 2), winograd}, winograd ? 3 : random.from_to(stride, 5),
                         random.from_to(1, 9), random.from_to(1, 60), random.from_to(1, 40),
                         random.from_to(1, 40), &random);
        Floats want, want_bfloat16;
        with_portable(
            [&] { want = drawn.compute(GLIC_FLOAT32), want_bfloat16 = drawn.compute(GLIC_BFLOAT16); });
        const Floats result = drawn.compute(GLIC_FLOAT32), in_bfloat16 = drawn.compute(GLIC_BFLOAT16);
        if (winograd) {
            require_near(result, want, 2e-5f, "Convolution by Winograd is the portable one's");
            require_near(in_bfloat16, want_bfloat16, 8e-2f,
                         "Convolution by Winograd in bfloat16 is the portable one's");
        } else {
            require_near(result, want, 4e-6f, "Convolution is the portable one's");
            require(in_bfloat16 == result, "Convolution without Winograd is in float32 always", i);
        }
    }
}

// Convolutions of the released models at a few positions: strided, and by Winograd.
void run(int times) {
    Random random(24);
    const Case strided({2, 1, 0}, 3, 16, 24, 128, 192, &random),
        shuffled({1, 2, 1}, 3, 16, 24, 192, 128, &random);
    for (int i = 0; i < times; ++i) strided.compute(GLIC_FLOAT32), shuffled.compute(GLIC_FLOAT32);
}

}  // namespace test
