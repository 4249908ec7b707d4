// TensorRT's plugin of an op, made from the op's description in its op.h. One library serves TensorRT 10, 11
// and TensorRT-RTX: it links none of them and calls nothing of theirs but the objects handed to it, never a
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
#include <vector>

#include "../common/kernel.h"
#include "../common/op.h"
#include "dims.h"

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
    if (type == nvinfer1::DataType::kINT8) return "int8";
    return type == nvinfer1::DataType::kINT32 ? "int32" : "another type";
}

// The type of a tensor that the op's table gives a type, `typed` being that of the maps.
inline nvinfer1::DataType data_type(Type type, nvinfer1::DataType typed) {
    switch (type) {
        case Type::kInt32:
            return nvinfer1::DataType::kINT32;
        case Type::kInt8:
            return nvinfer1::DataType::kINT8;
        case Type::kFloat32:
            return nvinfer1::DataType::kFLOAT;
        case Type::kT:
            break;
    }
    return typed;
}

// Whether an op of typed maps takes maps of this type.
template <typename Op>
bool takes(nvinfer1::DataType typed) {
    const int32_t element = element_of(typed);
    return element >= 0 && (Op::kFloat32 || element != GLIC_FLOAT32);
}

// The inputs' dimensions as the kernels' checks take them. Valid while this lives.
template <size_t kCount>
class Shapes {
  public:
    void set(size_t index, const nvinfer1::Dims& dims) {
        const size_t rank = dims.nbDims < 0 ? 0 : static_cast<size_t>(dims.nbDims);
        for (size_t i = 0; i < rank; ++i) dims_[index][i] = dims.d[i];
        shapes_[index] = {dims_[index], rank};
    }
    const glic_shape* get() const { return shapes_; }

  private:
    int64_t dims_[kCount][nvinfer1::Dims::MAX_DIMS] = {};
    glic_shape shapes_[kCount] = {};
};

// Lists an op's attributes, as a visitor of them, with their values.
struct FieldLister {
    std::vector<nvinfer1::PluginField>* fields;

    void operator()(const char* name, int64_t& value, Presence = Presence::kRequired) {
        fields->push_back({name, &value, nvinfer1::PluginFieldType::kINT64, 1});
    }
    void operator()(const char* name, float& value) {
        fields->push_back({name, &value, nvinfer1::PluginFieldType::kFLOAT32, 1});
    }
};

template <typename Op>
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
  public:
    explicit Plugin(const Op& op) : op_(op) {
        op_.visit(FieldLister{&fields_});
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
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
    nvinfer1::IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(op_); }
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override {
        return clone();
    }

    const char* getPluginName() const noexcept override { return Op::kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t getNbOutputs() const noexcept override { return 1; }

    int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t, const nvinfer1::DataType* inputs,
                               int32_t count) const noexcept override {
        if (count != kInputs) return refuse_count(count);
        const nvinfer1::DataType typed = inputs[first_typed<Op>()];
        if (is_typed<Op>() && !takes<Op>(typed)) {
            return refuse_type(first_typed<Op>(), typed,
                               Op::kFloat32 ? "float32, float16 or bfloat16: insert a Cast before it"
                                            : "float16 or bfloat16: insert a Cast before it");
        }
        for (int32_t i = 0; i < count; ++i) {
            const nvinfer1::DataType expected = data_type(Op::kInputTypes[i], typed);
            if (inputs[i] != expected) return refuse_type(i, inputs[i], type_name(expected));
        }
        outputs[0] = data_type(Op::kOutputTypes[0], typed);
        return 0;
    }

    int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t count, const nvinfer1::DimsExprs*,
                            int32_t, nvinfer1::DimsExprs* outputs, int32_t,
                            nvinfer1::IExprBuilder& builder) noexcept override {
        if (count != kInputs) return refuse_count(count);
        if (inputs[0].nbDims != OutputDims<Op>::kRank) {
            char message[GLIC_MESSAGE_SIZE];
            std::snprintf(message, sizeof message, "glic::%s: %s has %d dimensions, expected %s", Op::kName,
                          Op::kInputNames[0], inputs[0].nbDims, OutputDims<Op>::kExpected);
            return refuse(message);
        }
        OutputDims<Op>::set(inputs, builder, outputs);
        return 0;
    }

    bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                   int32_t inputs, int32_t) noexcept override {
        const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
        const nvinfer1::DataType typed = tensors[first_typed<Op>()].desc.type;
        if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
        if (is_typed<Op>() && !takes<Op>(typed)) return false;
        const Type type = position < inputs ? Op::kInputTypes[position] : Op::kOutputTypes[position - inputs];
        return tensor.type == data_type(type, typed);
    }

    // At build time the largest shapes of the profile, where they are known.
    int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t count,
                            const nvinfer1::DynamicPluginTensorDesc*, int32_t) noexcept override {
        if (count != kInputs) return refuse_count(count);
        return are_known(inputs) ? check(&op_, largest(inputs)) : 0;
    }

    size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t count,
                            const nvinfer1::DynamicPluginTensorDesc*, int32_t) const noexcept override {
        Op op = op_;
        if (count != kInputs || !are_known(inputs) || check(&op, largest(inputs)) != 0) return 0;
        return op.workspace();
    }

    int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t count,
                          const nvinfer1::PluginTensorDesc*, int32_t) noexcept override {
        if (count != kInputs) return refuse_count(count);
        Shapes<Op::kInputs> shapes;
        for (size_t i = 0; i < Op::kInputs; ++i) shapes.set(i, inputs[i].dims);
        return check(&op_, shapes);
    }

    int32_t enqueue(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc*,
                    const void* const* in, void* const* out, void* workspace,
                    cudaStream_t stream) noexcept override {
        const int32_t element = element_of(inputs[first_typed<Op>()].type);
        const int result = op_.compute_cuda(element, in, out, workspace, stream);
        if (result == 0) return 0;
        char message[GLIC_MESSAGE_SIZE];
        std::snprintf(message, sizeof message, "glic::%s: CUDA error %d when launching the kernel", Op::kName,
                      result);
        return refuse(message);
    }

    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &collection_; }

  private:
    static constexpr int32_t kInputs = static_cast<int32_t>(Op::kInputs);
    static_assert(Op::kOutputs == 1);

    static bool are_known(const nvinfer1::DynamicPluginTensorDesc* inputs) {
        for (int32_t i = 0; i < kInputs; ++i) {
            for (int32_t d = 0; d < inputs[i].max.nbDims; ++d) {
                if (inputs[i].max.d[d] < 0) return false;
            }
        }
        return true;
    }
    static Shapes<Op::kInputs> largest(const nvinfer1::DynamicPluginTensorDesc* inputs) {
        Shapes<Op::kInputs> shapes;
        for (size_t i = 0; i < Op::kInputs; ++i) shapes.set(i, inputs[i].max);
        return shapes;
    }
    // Remembers the size of the problem in *op.
    static int32_t check(Op* op, const Shapes<Op::kInputs>& shapes) {
        char message[GLIC_MESSAGE_SIZE];
        return op->check_cuda(shapes.get(), message) == GLIC_OK ? 0 : refuse(message);
    }
    static int32_t refuse_count(int32_t count) {
        char message[GLIC_MESSAGE_SIZE];
        std::snprintf(message, sizeof message, "glic::%s: has %d inputs, expected %d", Op::kName, count,
                      kInputs);
        return refuse(message);
    }
    static int32_t refuse_type(size_t index, nvinfer1::DataType type, const char* expected) {
        char message[GLIC_MESSAGE_SIZE];
        std::snprintf(message, sizeof message, "glic::%s: %s is %s, expected %s", Op::kName,
                      Op::kInputNames[index], type_name(type), expected);
        return refuse(message);
    }

    Op op_;
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

// Sets an op's attributes, as a visitor of them, from the fields of a node; the first failure sticks.
struct FieldReader {
    const nvinfer1::PluginFieldCollection* given;
    const char* wrong = nullptr;  // the name of a field

    void operator()(const char* name, int64_t& value, Presence presence = Presence::kRequired) {
        set(name, value, presence == Presence::kOptional);
    }
    void operator()(const char* name, float& value) { set(name, value, false); }

  private:
    template <typename Value>
    void set(const char* name, Value& value, bool found) {
        for (int32_t f = 0; f < given->nbFields; ++f) {
            if (std::strcmp(given->fields[f].name, name) == 0) found = read(given->fields[f], &value);
        }
        if (!found && wrong == nullptr) wrong = name;
    }
    static bool read(const nvinfer1::PluginField& field, float* value) {
        if (field.data == nullptr || field.length < 1) return false;
        if (field.type != nvinfer1::PluginFieldType::kFLOAT32) return false;
        *value = *static_cast<const float*>(field.data);
        return true;
    }
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
        return true;
    }
};

template <typename Op>
class Creator final : public nvinfer1::IPluginCreatorV3One {
  public:
    Creator() {
        Op().visit(FieldLister{&fields_});
        for (nvinfer1::PluginField& field : fields_) field.data = nullptr;
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    }

    nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* given,
                                      nvinfer1::TensorRTPhase) noexcept override {
        char message[GLIC_MESSAGE_SIZE];
        Op op;
        FieldReader reader{given};
        op.visit(reader);
        if (reader.wrong != nullptr) {
            std::snprintf(message, sizeof message,
                          "glic::%s: attribute %s is missing or of another type than the op's page says",
                          Op::kName, reader.wrong);
            refuse(message);
            return nullptr;
        }
        if (op.check_attributes(message) != GLIC_OK) {
            refuse(message);
            return nullptr;
        }
        return new (std::nothrow) Plugin<Op>(op);
    }

    const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
    const char* getPluginName() const noexcept override { return Op::kName; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

  private:
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace glic

#endif
