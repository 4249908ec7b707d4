// The transforms' ops as the glue of every runtime takes them: how many maps go in and come out, what their
// shapes and types have to be and become, and the computation.
#ifndef GLIC_KERNELS_TRANSFORM_OPS_H
#define GLIC_KERNELS_TRANSFORM_OPS_H

#include <cmath>
#include <vector>

#include "../common/check.h"
#include "../depthwise_mix/depthwise_mix.h"
#include "../gate/gate.h"
#include "../pixel_shuffle/pixel_shuffle.h"
#include "../residual_norm/residual_norm.h"
#include "../winograd/winograd.h"

namespace glic {

using Shape = std::vector<int64_t>;

// An op has, beside what is here:
//   kName and kInputs, a size of its kernel, and with the shapes of its inputs
//   check(in, message): as the kernels' check functions, and says the size;
//   shapes(in): those of its outputs, after a check;
//   compute(element, in, out, threads): as the kernels, after a check.
// Input kTyped and the outputs from kTypedOutputs on are of the type that `element` says, all others float32.
struct TransformOp {
    static constexpr size_t kOutputs = 1, kTyped = 0, kTypedOutputs = 0;

    // Calls visitor(name, value) for each attribute, all float.
    template <typename Visitor>
    void visit(Visitor) {}

  protected:
    static const float* floats(const void* map) { return static_cast<const float*>(map); }
    static float* floats(void* map) { return static_cast<float*>(map); }

    // The shape of a map with other channels, which are last.
    static Shape with_channels(glic_shape map, int64_t channels) {
        Shape shape(map.dims, map.dims + map.rank);
        shape.back() = channels;
        return shape;
    }
};

struct Gate : TransformOp {
    static constexpr const char* kName = "Gate";
    static constexpr size_t kInputs = 1;

    int check(const glic_shape* in, char* message) { return glic_gate_check(in[0], &size_, message); }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_gate_cpu(&size_, element, in[0], out[0], threads);
    }

  private:
    glic_gate_size size_{};
};

struct DepthwiseGate : TransformOp {
    static constexpr const char* kName = "DepthwiseGate";
    static constexpr size_t kInputs = 2;

    int check(const glic_shape* in, char* message) {
        return glic_depthwise_gate_check(in[0], in[1], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_depthwise_gate_cpu(&size_, element, in[0], floats(in[1]), out[0], threads);
    }

  private:
    glic_depthwise_gate_size size_{};
};

struct DepthwiseMix : TransformOp {
    static constexpr const char* kName = "DepthwiseMix";
    static constexpr size_t kInputs = 4;

    int check(const glic_shape* in, char* message) {
        return glic_depthwise_mix_check(in[0], in[1], in[2], in[3], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_depthwise_mix_cpu(&size_, element, in[0], floats(in[1]), floats(in[2]), floats(in[3]),
                                      out[0], threads);
    }

  private:
    glic_depthwise_mix_size size_{};
};

struct ResidualNorm : TransformOp {
    static constexpr const char* kName = "ResidualNorm";
    static constexpr size_t kInputs = 3, kOutputs = 2, kTyped = 1, kTypedOutputs = 1;

    template <typename Visitor>
    void visit(Visitor visitor) {
        visitor("epsilon", epsilon_);
    }
    int check(const glic_shape* in, char* message) {
        if (glic_residual_norm_check(in[0], in[1], in[2], &size_, message) != GLIC_OK) return GLIC_INVALID;
        return Checker("glic::ResidualNorm", message)
            .that(epsilon_ >= 0 && std::isfinite(epsilon_),
                  "attribute epsilon is %g, expected a finite number of 0 or more",
                  static_cast<double>(epsilon_))
            .result();
    }
    std::vector<Shape> shapes(const glic_shape* in) const {
        return {with_channels(in[0], size_.channels), with_channels(in[0], size_.channels + 1)};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_residual_norm_cpu(&size_, element, epsilon_, floats(in[0]), in[1], floats(in[2]),
                                      floats(out[0]), out[1], threads);
    }

  private:
    glic_residual_norm_size size_{};
    float epsilon_ = 0;
};

struct WinogradInput : TransformOp {
    static constexpr const char* kName = "WinogradInput";
    static constexpr size_t kInputs = 1;

    int check(const glic_shape* in, char* message) {
        return glic_winograd_input_check(in[0], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape*) const {
        return {{36, size_.images, size_.rows, size_.columns, size_.channels}};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_winograd_input_cpu(&size_, element, in[0], out[0], threads);
    }

  private:
    glic_winograd_size size_{};
};

struct WinogradShuffle : TransformOp {
    static constexpr const char* kName = "WinogradShuffle";
    static constexpr size_t kInputs = 2, kTypedOutputs = kOutputs;

    int check(const glic_shape* in, char* message) {
        return glic_winograd_shuffle_check(in[0], in[1], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape*) const {
        return {{size_.images, 8 * size_.rows, 8 * size_.columns, size_.channels}};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_winograd_shuffle_cpu(&size_, element, in[0], floats(in[1]), floats(out[0]), threads);
    }

  private:
    glic_winograd_size size_{};
};

struct PixelShuffle : TransformOp {
    static constexpr const char* kName = "PixelShuffle";  // float32 alone
    static constexpr size_t kInputs = 1;

    int check(const glic_shape* in, char* message) {
        return glic_pixel_shuffle_check(in[0], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape*) const {
        return {{size_.images, size_.channels / 4, 2 * size_.height, 2 * size_.width}};
    }
    int compute(int32_t, const void* const* in, void* const* out, const glic_parallel* threads) const {
        return glic_pixel_shuffle_cpu(&size_, floats(in[0]), floats(out[0]), threads);
    }

  private:
    glic_pixel_shuffle_size size_{};
};

}  // namespace glic

#endif
