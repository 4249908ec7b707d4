// The steps of the exact entropy path that sum products: glic::IntegerLinear, glic::IntegerGatedFfn and
// glic::IntegerDepthwise. README.md beside this file defines them. Integers come and go held in float32; sums
// are int32.
#ifndef GLIC_INTEGER_INTEGER_H
#define GLIC_INTEGER_INTEGER_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "../common/constant.h"
#include "../common/kernel.h"
#include "../common/tasks.h"

namespace glic {

// Columns of a weight matrix that are multiplied together.
constexpr int64_t kPanelColumns = 32;

// How the products of an instruction set read weights: `group` consecutive inputs of a column lie together,
// of `weight_size` bytes each. The products lack `missing` times the sum of each column's weights.
struct Packing {
    int64_t group, weight_size;
    int32_t missing;
};

// A weight matrix as the products read it: panels of 32 columns, in them groups of inputs, and what becomes
// of the sums.
class Panels {
  public:
    // weight: inputs × outputs; bias, shift: outputs. With `halves` a panel has 16 columns of the first half
    // of the outputs, then the same 16 of the second.
    Panels(const int8_t* weight, const int32_t* bias, const int32_t* shift, int64_t inputs, int64_t outputs,
           bool halves, const Packing& packing);

    int64_t inputs() const { return inputs_; }
    int64_t outputs() const { return outputs_; }
    int64_t groups() const { return (inputs_ + packing_.group - 1) / packing_.group; }
    // The inputs, filled up to whole groups.
    int64_t padded_inputs() const { return groups() * packing_.group; }
    int64_t count() const { return static_cast<int64_t>(bias_.size()) / kPanelColumns; }
    template <typename Weight>
    const Weight* weights(int64_t panel) const {
        return static_cast<const Weight*>(weights_.get()) + panel * padded_inputs() * kPanelColumns;
    }
    const int32_t* bias(int64_t panel) const { return bias_.data() + panel * kPanelColumns; }
    const int32_t* shift(int64_t panel) const { return shift_.data() + panel * kPanelColumns; }

  private:
    struct Free {
        void operator()(void* memory) const;
    };
    // Writes a column of weights, `outputs` apart, as column j of a panel. Returns their sum.
    template <typename Weight>
    int32_t pack_column(const int8_t* column, int64_t panel, int64_t j);

    Packing packing_;
    int64_t inputs_, outputs_;
    std::unique_ptr<void, Free> weights_;
    std::vector<int32_t> bias_, shift_;
};

// Weights are packed for one instruction set, whose task alone can read them.
struct Linear {
    Task task;
    Panels panels;
    int32_t limit;
};

struct UnitNorm {
    std::vector<int32_t> fraction;  // a channel's fraction bits
    std::vector<int32_t> rsqrt;     // 3072 entries, for mantissas from 1024
    int32_t input_shift, limit;
};

struct PackedGatedFfn {
    Task task;
    UnitNorm norm;
    Panels project_in;                // in halves
    std::vector<int32_t> gelu;        // 4096 entries, for arguments from -2048
    std::vector<int32_t> gate_shift;  // of each hidden unit, zeros up to whole panels of project_in
    int32_t gate_limit;
    Panels project_out;
};

// Channels that are convolved together.
constexpr int64_t kChannelChunk = 64;

struct Depthwise {
    Task task;
    int64_t channels;
    // Zeros up to whole chunks of channels; the weights chunk after chunk, in them tap after tap.
    std::vector<int32_t> weight, bias, shift;
    int32_t limit;
};

struct GatedFfnAttributes {
    int64_t norm_shift, norm_limit, gate_limit;
};

// Whether a node's attributes and its inputs but the first, in their order, are README.md's. GLIC_INVALID:
// message (GLIC_MESSAGE_SIZE bytes) says which is not, what it is and what was expected. Constants without
// values, such as those in the memory of a GPU, are checked for their shapes.
int check_linear_attributes(int64_t limit, char* message);
int check_linear(const Constant* constants, int64_t limit, char* message);
int check_gated_ffn_attributes(const GatedFfnAttributes& attributes, char* message);
int check_gated_ffn(const Constant* constants, const GatedFfnAttributes& attributes, char* message);
int check_depthwise_attributes(int64_t limit, char* message);
int check_depthwise(const Constant* constants, int64_t limit, char* message);

// What a node computes, from the same. nullptr, with a message, where the check fails. Throws std::bad_alloc.
std::unique_ptr<Linear> make_linear(const Constant* constants, int64_t limit, char* message);
std::unique_ptr<PackedGatedFfn> make_gated_ffn(const Constant* constants,
                                               const GatedFfnAttributes& attributes, char* message);
std::unique_ptr<Depthwise> make_depthwise(const Constant* constants, int64_t limit, char* message);

// y (positions × outputs) of x (positions × inputs). Returns GLIC_OK or GLIC_NO_MEMORY.
int integer_linear(const Linear& linear, const float* x, int64_t positions, float* y,
                   const glic_parallel* parallel);

// The stream (positions × channels) after the block. out may be stream. Returns GLIC_OK or GLIC_NO_MEMORY.
int integer_gated_ffn(const PackedGatedFfn& ffn, const float* stream, int64_t positions, float* out,
                      const glic_parallel* parallel);

// y (height × width × channels) of x. Returns GLIC_OK or GLIC_NO_MEMORY.
int integer_depthwise(const Depthwise& depthwise, const float* x, int64_t height, int64_t width, float* y,
                      const glic_parallel* parallel);

}  // namespace glic

#endif
