// The part of a TensorRT plugin that is the same for both ops. One library serves TensorRT 10, 11 and
// TensorRT-RTX: it links none of them and calls nothing of theirs but the objects handed to it, never a
// logger, whose layout differs between versions. What is wrong with a node goes to the standard error stream
// instead.
#ifndef GLIC_TENSORRT_PLUGIN_H
#define GLIC_TENSORRT_PLUGIN_H

#include <NvInferRuntime.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <new>

#include "../common/kernel.h"

namespace glic {

constexpr const char* kNamespace = "glic";
constexpr const char* kVersion = "1";

inline int32_t refuse(const char* message) {
    std::fprintf(stderr, "%s\n", message);
    return 1;
}

// The element type of a tensor, -1 for one that the kernels do not take.
inline int32_t element_of(nvinfer1::DataType type) {
    switch (type) {
        case nvinfer1::DataType::kFLOAT:
            return GLIC_FLOAT32;
        case nvinfer1::DataType::kHALF:
            return GLIC_FLOAT16;
        case nvinfer1::DataType::kBF16:
            return GLIC_BFLOAT16;
        default:
            return -1;
    }
}

inline const char* type_name(nvinfer1::DataType type) {
    const int32_t element = element_of(type);
    if (element == GLIC_FLOAT32) return "float32";
    if (element == GLIC_FLOAT16) return "float16";
    if (element == GLIC_BFLOAT16) return "bfloat16";
    return type == nvinfer1::DataType::kINT32 ? "int32" : "another type";
}

// A tensor's dimensions as the kernels' checks take them. Valid while this lives.
class Shape {
  public:
    explicit Shape(const nvinfer1::Dims& dims)
        : rank_(dims.nbDims < 0 ? 0 : static_cast<size_t>(dims.nbDims)) {
        for (size_t i = 0; i < rank_; ++i) dims_[i] = dims.d[i];
    }
    operator glic_shape() const { return {dims_, rank_}; }

  private:
    size_t rank_;
    int64_t dims_[nvinfer1::Dims::MAX_DIMS] = {};
};

// A node's attributes, in the order of their fields.
struct Attributes {
    int32_t sampling = -1, window = 8, sample = 16;
};
constexpr const char* kAttributeNames[] = {"sampling", "window", "sample"};

// What `Op` has: kName, kInputs, kInputNames; input_type(index, type of input 0) and output_type(that);
// output_dims(inputs, builder, out); Size; check(attributes, shapes, Size*, message); enqueue(Size, element,
// inputs, output, stream), which gives 0 or a CUDA error.
template <typename Op>
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
  public:
    explicit Plugin(const Attributes& attributes) : attributes_(attributes) {
        int32_t* values[] = {&attributes_.sampling, &attributes_.window, &attributes_.sample};
        for (size_t i = 0; i < std::size(values); ++i) {
            fields_[i] = {kAttributeNames[i], values[i], nvinfer1::PluginFieldType::kINT32, 1};
        }
    }

    nvinfer1::IPluginCapability* getCapabilityInterface(
        nvinfer1::PluginCapabilityType type) noexcept override {
        switch (type) {
            case nvinfer1::PluginCapabilityType::kCORE:
                return static_cast<nvinfer1::IPluginV3OneCore*>(this);
            case nvinfer1::PluginCapabilityType::kBUILD:
                return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
            case nvinfer1::PluginCapabilityType::kRUNTIME:
                return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    nvinfer1::IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(attributes_); }
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override {
        return clone();
    }

    const char* getPluginName() const noexcept override { return Op::kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t getNbOutputs() const noexcept override { return 1; }

    int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t, const nvinfer1::DataType* inputs,
                               int32_t count) const noexcept override {
        if (count != Op::kInputs) return refuse_count(count);
        if (element_of(inputs[0]) < 0) {
            return refuse_type(0, inputs[0], "float32, float16 or bfloat16: insert a Cast before it");
        }
        for (int32_t i = 1; i < count; ++i) {
            const nvinfer1::DataType expected = Op::input_type(i, inputs[0]);
            if (inputs[i] != expected) return refuse_type(i, inputs[i], type_name(expected));
        }
        outputs[0] = Op::output_type(inputs[0]);
        return 0;
    }

    int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t count, const nvinfer1::DimsExprs*,
                            int32_t, nvinfer1::DimsExprs* outputs, int32_t,
                            nvinfer1::IExprBuilder& builder) noexcept override {
        if (count != Op::kInputs) return refuse_count(count);
        if (inputs[0].nbDims != 4) {
            char message[GLIC_MESSAGE_SIZE];
            std::snprintf(message, sizeof message, "glic::%s: %s has %d dimensions, expected [N, H, W, C]",
                          Op::kName, Op::kInputNames[0], inputs[0].nbDims);
            return refuse(message);
        }
        Op::output_dims(inputs, builder, outputs);
        return 0;
    }

    bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                   int32_t inputs, int32_t) noexcept override {
        const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
        const nvinfer1::DataType first = tensors[0].desc.type;
        if (tensor.format != nvinfer1::TensorFormat::kLINEAR || element_of(first) < 0) return false;
        if (position >= inputs) return tensor.type == Op::output_type(first);
        return tensor.type == Op::input_type(position, first);
    }

    // At build time the largest shapes of the profile, where they are known.
    int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t count,
                            const nvinfer1::DynamicPluginTensorDesc*, int32_t) noexcept override {
        if (count != Op::kInputs) return refuse_count(count);
        nvinfer1::Dims dims[Op::kInputs];
        for (int32_t i = 0; i < count; ++i) {
            dims[i] = inputs[i].max;
            for (int32_t d = 0; d < dims[i].nbDims; ++d) {
                if (dims[i].d[d] < 0) return 0;
            }
        }
        return check(dims);
    }

    int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t count,
                          const nvinfer1::PluginTensorDesc*, int32_t) noexcept override {
        if (count != Op::kInputs) return refuse_count(count);
        nvinfer1::Dims dims[Op::kInputs];
        for (int32_t i = 0; i < count; ++i) dims[i] = inputs[i].dims;
        return check(dims);
    }

    int32_t enqueue(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc*,
                    const void* const* in, void* const* out, void*, cudaStream_t stream) noexcept override {
        const int result = Op::enqueue(size_, element_of(inputs[0].type), in, out[0], stream);
        if (result == 0) return 0;
        char message[GLIC_MESSAGE_SIZE];
        std::snprintf(message, sizeof message, "glic::%s: CUDA error %d when launching the kernel", Op::kName,
                      result);
        return refuse(message);
    }

    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &collection_; }

  private:
    int32_t check(const nvinfer1::Dims* inputs) {
        char message[GLIC_MESSAGE_SIZE];
        return Op::check(attributes_, inputs, &size_, message) == GLIC_OK ? 0 : refuse(message);
    }
    static int32_t refuse_count(int32_t count) {
        char message[GLIC_MESSAGE_SIZE];
        std::snprintf(message, sizeof message, "glic::%s: has %d inputs, expected %d", Op::kName, count,
                      Op::kInputs);
        return refuse(message);
    }
    static int32_t refuse_type(int32_t index, nvinfer1::DataType type, const char* expected) {
        char message[GLIC_MESSAGE_SIZE];
        std::snprintf(message, sizeof message, "glic::%s: %s is %s, expected %s", Op::kName,
                      Op::kInputNames[index], type_name(type), expected);
        return refuse(message);
    }

    Attributes attributes_;
    typename Op::Size size_ = {};
    nvinfer1::PluginField fields_[std::size(kAttributeNames)];
    nvinfer1::PluginFieldCollection collection_{static_cast<int32_t>(std::size(kAttributeNames)), fields_};
};

template <typename Op>
class Creator final : public nvinfer1::IPluginCreatorV3One {
  public:
    Creator() {
        for (size_t i = 0; i < std::size(kAttributeNames); ++i) {
            fields_[i] = {kAttributeNames[i], nullptr, nvinfer1::PluginFieldType::kINT32, 1};
        }
    }

    nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* given,
                                      nvinfer1::TensorRTPhase) noexcept override {
        char message[GLIC_MESSAGE_SIZE];
        Attributes attributes;
        int32_t* values[] = {&attributes.sampling, &attributes.window, &attributes.sample};
        for (int32_t f = 0; f < given->nbFields; ++f) {
            const nvinfer1::PluginField& field = given->fields[f];
            for (size_t i = 0; i < std::size(kAttributeNames); ++i) {
                if (std::strcmp(field.name, kAttributeNames[i]) != 0) continue;
                int64_t value = 0;
                if (!read(field, &value)) {
                    std::snprintf(message, sizeof message,
                                  "glic::%s: attribute %s is no integer, expected one", Op::kName,
                                  field.name);
                    refuse(message);
                    return nullptr;
                }
                *values[i] = static_cast<int32_t>(value);
            }
        }
        if (Op::check_attributes(attributes, message) != GLIC_OK) {
            refuse(message);
            return nullptr;
        }
        return new (std::nothrow) Plugin<Op>(attributes);
    }

    const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
    const char* getPluginName() const noexcept override { return Op::kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

  private:
    // Parsers differ in the width of integers.
    static bool read(const nvinfer1::PluginField& field, int64_t* value) {
        if (field.data == nullptr || field.length < 1) return false;
        if (field.type == nvinfer1::PluginFieldType::kINT32) {
            *value = *static_cast<const int32_t*>(field.data);
        } else if (field.type == nvinfer1::PluginFieldType::kINT64) {
            *value = *static_cast<const int64_t*>(field.data);
        } else {
            return false;
        }
        return *value == static_cast<int32_t>(*value);
    }

    nvinfer1::PluginField fields_[std::size(kAttributeNames)];
    nvinfer1::PluginFieldCollection collection_{static_cast<int32_t>(std::size(kAttributeNames)), fields_};
};

nvinfer1::IPluginCreatorInterface* dynamic_knn_creator();
nvinfer1::IPluginCreatorInterface* scatter_aggregate_creator();

}  // namespace glic

#endif
