#include "../convolution.h"

#include <algorithm>
#include <cinttypes>

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../winograd/cpu/kernel.h"
#include "kernel.h"

namespace glic {
namespace {

constexpr int64_t kLargestKernel = 7;
// Of a task: results, and Winograd's tiles. They are as many as make the reading of the weights cheap.
constexpr int64_t kRows = 2, kColumns = 48, kWinogradTiles = 48;

ConvolutionBuild selected(int32_t element, bool winograd) {
    return element == GLIC_BFLOAT16 ? GLIC_SELECTED_BFLOAT16(convolution_build)(element, winograd)
                                    : GLIC_SELECTED(convolution_build)(element, winograd);
}

// Of GgGᵀ for each of the filters g the values in row `row`: six matrices, channels × outputs, which hold
// `size` values each. In float64, as the sums of small parts.
std::vector<float> winograd_matrices(const float* weight, int64_t size, int row) {
    constexpr double kG[kPatch][3] = {{1.0 / 4, 0, 0},
                                      {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                                      {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                                      {1.0 / 24, 1.0 / 12, 1.0 / 6},
                                      {1.0 / 24, -1.0 / 12, 1.0 / 6},
                                      {0, 0, 1}};
    std::vector<float> matrices(static_cast<size_t>(kPatch * size));
    for (int64_t i = 0; i < size; ++i) {
        double of_row[3] = {};
        for (int x = 0; x < 3; ++x) {
            for (int y = 0; y < 3; ++y) {
                of_row[x] += kG[row][y] * static_cast<double>(weight[(y * 3 + x) * size + i]);
            }
        }
        for (int b = 0; b < kPatch; ++b) {
            double sum = 0;
            for (int x = 0; x < 3; ++x) sum += kG[b][x] * of_row[x];
            matrices[static_cast<size_t>(b * size + i)] = static_cast<float>(sum);
        }
    }
    return matrices;
}

}  // namespace

std::unique_ptr<ConvolutionLayer> make_convolution(const Constant* constants,
                                                   const ConvolutionAttributes& attributes, int32_t element,
                                                   char* message) {
    Checker check("glic::Convolution", message);
    const glic_shape shape = constants[0].shape;
    const auto [stride, shuffle, winograd] = attributes;
    check.attribute("stride", stride, 1, 2)
        .attribute("shuffle", shuffle, 1, 2)
        .attribute("winograd", winograd, 0, 1)
        .sides("weight", shape)
        .that(shape.rank == 4, "weight has %zu dimensions, expected rows, columns, channels, outputs",
              shape.rank);
    if (!check.ok()) return nullptr;
    const int64_t kernel = shape.dims[0], channels = shape.dims[2], outputs = shape.dims[3];
    check
        .that(kernel == shape.dims[1] && kernel >= stride && kernel <= kLargestKernel,
              "weight has %" PRId64 " rows and %" PRId64
              " columns, expected as many, from the stride to %" PRId64,
              kernel, shape.dims[1], kLargestKernel)
        .that(channels > 0 && outputs > 0 && outputs % (shuffle * shuffle) == 0,
              "weight has %" PRId64 " channels and %" PRId64
              " outputs, expected some, and outputs in multiples of %" PRId64,
              channels, outputs, shuffle * shuffle)
        .that(!winograd || (kernel == 3 && stride == 1),
              "winograd is 1 for filters of side %" PRId64 " and stride %" PRId64 ", expected 3 and 1",
              kernel, stride);
    if (check.ok()) check.shape("bias", constants[1].shape, {outputs});
    if (!check.ok()) return nullptr;

    if (!winograd) element = GLIC_FLOAT32;  // README.md says why
    const ConvolutionBuild build = selected(element, winograd);
    auto layer = std::make_unique<ConvolutionLayer>(
        ConvolutionLayer{build.task, element, attributes, kernel, channels, outputs, build.packing, {}, {}});
    const float* const bias = floats(constants[1]);
    layer->bias.assign(bias, bias + outputs);
    const auto pack = [&](const float* matrices, int64_t count, int64_t inputs) {
        for (int64_t i = 0; i < count; ++i) {
            layer->weights.emplace_back(matrices + i * inputs * outputs, inputs, outputs, outputs,
                                        build.packing);
        }
    };
    if (winograd) {
        for (int row = 0; row < kPatch; ++row) {
            pack(winograd_matrices(floats(constants[0]), channels * outputs, row).data(), kPatch, channels);
        }
    } else {
        pack(floats(constants[0]), kernel, kernel * channels);
    }
    layer->bias.resize(static_cast<size_t>(layer->weights[0].width()));
    return layer;
}

int convolve(const ConvolutionLayer& layer, const float* x, int64_t images, int64_t height, int64_t width,
             float* out, const glic_parallel* parallel) {
    const auto [stride, shuffle, winograd] = layer.attributes;
    const int64_t rows = height / stride, columns = width / stride;
    if (images == 0 || rows == 0 || columns == 0) return GLIC_OK;
    // Tasks of about the same size.
    const int64_t unit = winograd ? kTile : 1, most = winograd ? kTile * kWinogradTiles : kColumns;
    const int64_t across = divided(divided(columns, divided(columns, most)), unit) * unit;
    const int64_t tiles_down =
        std::min(std::max<int64_t>(kWinogradTiles * kTile / across, 1), divided(rows, kTile));
    const int64_t down = winograd ? kTile * tiles_down : std::min(kRows, rows);
    const ConvolutionProblem problem{&layer, x, out, height, width, rows, columns, down, across};
    const int64_t under = ((down - 1) * stride + layer.kernel) * ((across - 1) * stride + layer.kernel);
    const int64_t tiles = tiles_down * across / kTile;
    const size_t element = element_size(layer.element);
    const size_t scratch =
        winograd ? kPatch * kPatch *
                       (static_cast<size_t>(tiles * layer.weights[0].depth() + kWinogradGap) * element +
                        static_cast<size_t>(tiles * std::max(kWinogradOutputs, layer.packing.columns) +
                                            kWinogradGap) *
                            sizeof(float))
                 : static_cast<size_t>(under * layer.channels) * element;
    const size_t count = static_cast<size_t>(images * divided(rows, down) * divided(columns, across));
    return run_tasks(parallel, count, scratch, layer.task, &problem);
}

}  // namespace glic
