// emulate_kernels OP ORDER NUMBERS: the op's inputs as raw arrays from standard input, one after another, its
// result to standard output. ORDER: 1 lets threads take turns from the last to the first. NUMBERS: the
// element type as in kernel.h, of ops that have several, then the fields of the op's size as its header
// declares them.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "../complexity_map/complexity_map_cuda.h"
#include "../dynamic_knn/dynamic_knn_cuda.h"
#include "../gated_ffn/gated_ffn_cuda.h"
#include "../images/images_cuda.h"
#include "../integer/integer_cuda.h"
#include "../passes/passes_cuda.h"
#include "../scatter_aggregate/scatter_aggregate_cuda.h"
#include "arrays.h"
#include "emulator.h"

namespace {

using glic_emulator::Array;

// The numbers of the command line, in turn.
struct Numbers {
    char** next;
    char** end;

    operator int64_t() { return next < end ? std::strtoll(*next++, nullptr, 10) : (std::exit(2), 0); }
    operator int32_t() { return static_cast<int32_t>(operator int64_t()); }
};

int64_t bytes_of(int32_t element) { return element == GLIC_FLOAT32 ? 4 : 2; }

int complexity_map(Numbers numbers) {
    const int32_t element = numbers;
    const glic_complexity_map_size size{numbers, numbers, numbers, numbers};
    const int64_t nodes = size.images * size.height * size.width;
    Array<> x(nodes * size.channels * bytes_of(element));
    Array<> workspace(static_cast<int64_t>(glic_complexity_map_workspace(&size)));
    Array<float> complexity(nodes);
    x.read();
    const int result =
        glic_complexity_map_cuda(&size, element, x.get(), complexity.get(), workspace.get(), nullptr);
    complexity.write();
    return result;
}

int dynamic_knn(Numbers numbers) {
    const int32_t element = numbers;
    const glic_dynamic_knn_size size{numbers, numbers, numbers, numbers, numbers};
    const int64_t nodes = size.images * size.height * size.width;
    Array<> x(nodes * size.channels * bytes_of(element));
    Array<float> complexity(nodes);
    Array<int32_t> graph(nodes * 8);
    x.read();
    complexity.read();
    const int result = glic_dynamic_knn_cuda(&size, element, x.get(), complexity.get(), graph.get(), nullptr);
    graph.write();
    return result;
}

int scatter_aggregate(Numbers numbers) {
    const int32_t element = numbers;
    const glic_scatter_aggregate_size size{numbers, numbers, numbers, numbers, numbers, numbers};
    const int64_t nodes = size.images * size.height * size.width,
                  map = nodes * size.channels * bytes_of(element);
    Array<> q(map), kv(2 * map), out(map);
    Array<int32_t> graph(nodes * 8);
    Array<float> bias(size.heads * 64 * 256), scale(size.heads);
    q.read();
    kv.read();
    graph.read();
    bias.read();
    scale.read();
    const int result = glic_scatter_aggregate_cuda(&size, element, q.get(), kv.get(), graph.get(), bias.get(),
                                                   scale.get(), out.get(), nullptr);
    out.write();
    return result;
}

int gated_ffn(Numbers numbers) {
    const int32_t element = numbers;
    const glic_gated_ffn_size size{numbers, numbers, numbers};
    Array<> x(size.positions * size.channels * 2), expand(size.channels * size.hidden * 4),
        project(size.hidden * size.channels * 2);
    Array<float> bias(2 * size.hidden), epsilon(1);
    x.read();
    expand.read();
    bias.read();
    project.read();
    const int result = glic_gated_ffn_cuda(&size, epsilon.read()[0], element, x.get(), expand.get(),
                                           bias.get(), project.get(), x.get(), nullptr);
    x.write();
    return result;
}

int depthwise_gated_ffn(Numbers numbers) {
    const int32_t element = numbers;
    const glic_depthwise_gated_ffn_size size{numbers, numbers, numbers, numbers, numbers};
    const int64_t map = size.images * size.height * size.width * size.channels * 2;
    Array<> x(map), expand(size.channels * size.hidden * 4), project(size.hidden * size.channels * 2),
        out(map);
    Array<float> bias(2 * size.hidden), filter(2 * size.hidden * 9), epsilon(1);
    x.read();
    expand.read();
    bias.read();
    filter.read();
    project.read();
    const int result =
        glic_depthwise_gated_ffn_cuda(&size, epsilon.read()[0], element, x.get(), expand.get(), bias.get(),
                                      filter.get(), project.get(), out.get(), nullptr);
    out.write();
    return result;
}

// The constants of a layer.
struct Layer {
    Array<int8_t> weight;
    Array<int32_t> bias, shift;

    Layer(int64_t inputs, int64_t outputs) : weight(inputs * outputs), bias(outputs), shift(outputs) {}
    glic_integer_layer read() { return {weight.read(), bias.read(), shift.read()}; }
};

int integer_linear(Numbers numbers) {
    const glic_integer_linear_size size{numbers, numbers, numbers, numbers};
    Array<float> x(size.positions * size.inputs), y(size.positions * size.outputs);
    Layer layer(size.inputs, size.outputs);
    x.read();
    const int result = glic_integer_linear_cuda(&size, x.get(), layer.read(), y.get(), nullptr);
    y.write();
    return result;
}

int integer_gated_ffn(Numbers numbers) {
    const glic_integer_gated_ffn_size size{numbers, numbers, numbers, numbers, numbers, numbers};
    Array<float> x(size.positions * size.channels);
    Array<int32_t> fraction(size.channels), rsqrt(3072), gelu(4096), gate_shift(size.hidden);
    Layer in(size.channels, 2 * size.hidden), out(size.hidden, size.channels);
    Array<> workspace(static_cast<int64_t>(glic_integer_gated_ffn_workspace(&size)));
    x.read();
    fraction.read();
    rsqrt.read();
    const glic_integer_layer project_in = in.read();
    gelu.read();
    gate_shift.read();
    const glic_integer_gated_ffn_constants constants{fraction.get(), rsqrt.get(),      project_in,
                                                     gelu.get(),     gate_shift.get(), out.read()};
    const int result =
        glic_integer_gated_ffn_cuda(&size, x.get(), &constants, x.get(), workspace.get(), nullptr);
    x.write();
    return result;
}

int integer_depthwise(Numbers numbers) {
    const glic_integer_depthwise_size size{numbers, numbers, numbers, numbers};
    const int64_t values = size.height * size.width * size.channels;
    Array<float> x(values), y(values);
    Layer layer(25, size.channels);
    x.read();
    const int result = glic_integer_depthwise_cuda(&size, x.get(), layer.read(), y.get(), nullptr);
    y.write();
    return result;
}

int pass_place(Numbers numbers) {
    const glic_pass_size size{numbers, numbers, numbers, numbers};
    const bool with_others = static_cast<int32_t>(numbers) != 0;
    const int64_t values = size.channels * size.height * size.width;
    Array<int16_t> symbols(values / 2);
    Array<float> means(values / 2), others(with_others ? values : 0), slice(values);
    symbols.read();
    means.read();
    others.read();
    const int result = glic_pass_place_cuda(&size, symbols.get(), means.get(),
                                            with_others ? others.get() : nullptr, slice.get(), nullptr);
    slice.write();
    return result;
}

int pass_expect(Numbers numbers) {
    const glic_pass_size size{numbers, numbers, numbers, numbers};
    Array<uint8_t> indexes(size.channels * size.height * size.width / 2);
    Array<int32_t> units(256);
    Array<uint64_t> before(1), expected(1);
    indexes.read();
    units.read();
    before.read();
    const int result =
        glic_pass_expect_cuda(&size, indexes.get(), units.get(), before.get(), expected.get(), nullptr);
    expected.write();
    return result;
}

// The number after the size: the levels, 0 to round to the nearest.
int pass_quantize(Numbers numbers) {
    const glic_pass_size size{numbers, numbers, numbers, numbers};
    const int32_t levels = numbers;
    const int64_t values = size.channels * size.height * size.width;
    Array<float> y(values), means(values / 2), weights(size.height * size.width), share(1);
    Array<uint8_t> indexes(values / 2);
    Array<double> gains(256 * levels), scalars(3);
    Array<uint64_t> expected(1);
    Array<int16_t> symbols(values / 2);
    y.read();
    means.read();
    indexes.read();
    gains.read();
    expected.read();
    weights.read();
    scalars.read();
    share.read();
    const glic_pass_weighing weighing{gains.get(),      expected.get(),   weights.get(),  scalars.get()[0],
                                      scalars.get()[1], scalars.get()[2], share.get()[0], levels};
    const int result = glic_pass_quantize_cuda(&size, y.get(), means.get(), indexes.get(),
                                               levels != 0 ? &weighing : nullptr, symbols.get(), nullptr);
    symbols.write();
    return result;
}

// The source holds all bytes from its first to its last; `channel` may be 0.
int image_place(Numbers numbers) {
    const glic_image_place_size size{numbers, numbers, numbers, numbers, numbers, numbers, numbers};
    Array<uint8_t> source((size.source_height - 1) * size.row + (size.source_width - 1) * size.column +
                          2 * size.channel + 1);
    Array<uint8_t> target(3 * size.height * size.width);
    source.read();
    const int result = glic_image_place_cuda(&size, source.get(), target.get(), nullptr);
    target.write();
    return result;
}

constexpr struct {
    const char* name;
    int (*run)(Numbers);
} kOps[] = {{"complexity_map", complexity_map},
            {"dynamic_knn", dynamic_knn},
            {"scatter_aggregate", scatter_aggregate},
            {"gated_ffn", gated_ffn},
            {"depthwise_gated_ffn", depthwise_gated_ffn},
            {"integer_linear", integer_linear},
            {"integer_gated_ffn", integer_gated_ffn},
            {"integer_depthwise", integer_depthwise},
            {"pass_place", pass_place},
            {"pass_expect", pass_expect},
            {"pass_quantize", pass_quantize},
            {"image_place", image_place}};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    glic_emulator::set_reversed(std::strcmp(argv[2], "1") == 0);
    for (const auto& op : kOps) {
        if (std::strcmp(op.name, argv[1]) != 0) continue;
        const int result = op.run({argv + 3, argv + argc});
        return result == 0 ? 0 : 10 + result;
    }
    return 2;
}
