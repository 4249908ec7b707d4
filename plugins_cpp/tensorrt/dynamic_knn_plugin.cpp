#include "../common/check.h"
#include "../common/groups.h"
#include "../dynamic_knn/dynamic_knn_cuda.h"
#include "plugin.h"

namespace glic {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimensionOperation;

struct DynamicKnn {
    static constexpr const char* kName = "DynamicKnn";
    static constexpr int32_t kInputs = 2;
    static constexpr const char* kInputNames[] = {"x", "complexity"};
    using Size = glic_dynamic_knn_size;

    static DataType input_type(int32_t index, DataType first) {
        return index == 0 ? first : DataType::kFLOAT;
    }
    static DataType output_type(DataType) { return DataType::kINT32; }

    // N×(H/8)·(W/8)×64×8
    static void output_dims(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder& builder,
                            nvinfer1::DimsExprs* out) {
        const auto* window = builder.constant(kWindow);
        const auto* rows = builder.operation(DimensionOperation::kFLOOR_DIV, *inputs[0].d[1], *window);
        const auto* columns = builder.operation(DimensionOperation::kFLOOR_DIV, *inputs[0].d[2], *window);
        out->nbDims = 4;
        out->d[0] = inputs[0].d[0];
        out->d[1] = builder.operation(DimensionOperation::kPROD, *rows, *columns);
        out->d[2] = builder.constant(kQueries);
        out->d[3] = builder.constant(kWords);
    }

    static int check_attributes(const Attributes& attributes, char* message) {
        return Checker("glic::DynamicKnn", message)
            .attributes(attributes.sampling, attributes.window, attributes.sample)
            .result();
    }
    static int check(const Attributes& attributes, const nvinfer1::Dims* inputs, Size* size, char* message) {
        const Shape x(inputs[0]), complexity(inputs[1]);
        return glic_dynamic_knn_check(x, complexity, attributes.sampling, attributes.window,
                                      attributes.sample, size, message);
    }
    static int enqueue(const Size& size, int32_t element, const void* const* in, void* out,
                       cudaStream_t stream) {
        return glic_dynamic_knn_cuda(&size, element, in[0], static_cast<const float*>(in[1]),
                                     static_cast<int32_t*>(out), stream);
    }
};

}  // namespace

nvinfer1::IPluginCreatorInterface* dynamic_knn_creator() {
    static Creator<DynamicKnn> creator;
    return &creator;
}

}  // namespace glic
