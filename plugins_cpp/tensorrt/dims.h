// The dimensions of each op's output in terms of those of its inputs, as TensorRT computes with them.
#ifndef GLIC_TENSORRT_DIMS_H
#define GLIC_TENSORRT_DIMS_H

#include <NvInferRuntime.h>

#include "glic_ops.h"

namespace glic {

// Of most ops: those of the first input.
template <typename Op>
struct OutputDims {
    static constexpr int32_t kRank = 4;
    static constexpr const char* kExpected = "[N, H, W, C]";

    static void set(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder&, nvinfer1::DimsExprs* out) {
        *out = inputs[0];
    }
};

// N×H×W
template <>
struct OutputDims<ComplexityMap> : OutputDims<void> {
    static void set(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder&, nvinfer1::DimsExprs* out) {
        *out = inputs[0];
        out->nbDims = 3;
    }
};

// N×(H/8)·(W/8)×64×8
template <>
struct OutputDims<DynamicKnn> : OutputDims<void> {
    static void set(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder& builder,
                    nvinfer1::DimsExprs* out) {
        using nvinfer1::DimensionOperation;
        const auto* window = builder.constant(kWindow);
        const auto* rows = builder.operation(DimensionOperation::kFLOOR_DIV, *inputs[0].d[1], *window);
        const auto* columns = builder.operation(DimensionOperation::kFLOOR_DIV, *inputs[0].d[2], *window);
        out->nbDims = 4;
        out->d[0] = inputs[0].d[0];
        out->d[1] = builder.operation(DimensionOperation::kPROD, *rows, *columns);
        out->d[2] = builder.constant(kQueries);
        out->d[3] = builder.constant(kWords);
    }
};

struct IntegerDims : OutputDims<void> {
    static constexpr int32_t kRank = 3;
    static constexpr const char* kExpected = "[H, W, C]";
};
template <>
struct OutputDims<IntegerGatedFfn> : IntegerDims {};
template <>
struct OutputDims<IntegerDepthwise> : IntegerDims {};
template <>
struct OutputDims<IntegerLinear> : IntegerDims {
    static void set(const nvinfer1::DimsExprs* inputs, nvinfer1::IExprBuilder&, nvinfer1::DimsExprs* out) {
        *out = inputs[0];
        if (inputs[1].nbDims == 2) out->d[kRank - 1] = inputs[1].d[1];
    }
};

}  // namespace glic

#endif
