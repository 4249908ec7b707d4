#include "../common/check.h"
#include "../scatter_aggregate/scatter_aggregate_cuda.h"
#include "plugin.h"

namespace glic {
namespace {

using nvinfer1::DataType;

struct ScatterAggregate {
    static constexpr const char* kName = "ScatterAggregate";
    static constexpr int32_t kInputs = 5;
    static constexpr const char* kInputNames[] = {"q", "kv", "graph", "bias", "scale"};
    using Size = glic_scatter_aggregate_size;

    static DataType input_type(int32_t index, DataType first) {
        if (index < 2) return first;
        return index == 2 ? DataType::kINT32 : DataType::kFLOAT;
    }
    static DataType output_type(DataType first) { return first; }

    static void output_dims(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder&,
                            nvinfer1::DimsExprs* out) {
        *out = inputs[0];
    }

    static int check_attributes(const Attributes& attributes, char* message) {
        return Checker("glic::ScatterAggregate", message)
            .attributes(attributes.sampling, attributes.window, attributes.sample)
            .result();
    }
    static int check(const Attributes& attributes, const nvinfer1::Dims* inputs, Size* size, char* message) {
        const Shape q(inputs[0]), kv(inputs[1]), graph(inputs[2]), bias(inputs[3]), scale(inputs[4]);
        if (glic_scatter_aggregate_check(q, kv, graph, bias, scale, attributes.sampling, attributes.window,
                                         attributes.sample, size, message) != GLIC_OK) {
            return GLIC_INVALID;
        }
        const int64_t width = size->channels / size->heads;
        return Checker("glic::ScatterAggregate", message)
            .that(width <= GLIC_CUDA_MAX_HEAD_WIDTH,
                  "q has heads of %lld channels, expected at most %d on a GPU", static_cast<long long>(width),
                  GLIC_CUDA_MAX_HEAD_WIDTH)
            .result();
    }
    static int enqueue(const Size& size, int32_t element, const void* const* in, void* out,
                       cudaStream_t stream) {
        return glic_scatter_aggregate_cuda(&size, element, in[0], in[1], static_cast<const int32_t*>(in[2]),
                                           static_cast<const float*>(in[3]), static_cast<const float*>(in[4]),
                                           out, stream);
    }
};

}  // namespace

nvinfer1::IPluginCreatorInterface* scatter_aggregate_creator() {
    static Creator<ScatterAggregate> creator;
    return &creator;
}

}  // namespace glic
