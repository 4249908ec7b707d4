// The two symbols that TensorRT looks for in a plugin library.
#include "plugin.h"

extern "C" GLIC_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
#define GLIC_CREATOR(Op) static glic::Creator<glic::Op> creator_of_##Op;
    GLIC_OPS_OF_tensorrt(GLIC_CREATOR)
#undef GLIC_CREATOR
#define GLIC_ADDRESS(Op) &creator_of_##Op,
        static nvinfer1::IPluginCreatorInterface* const creators[] = {GLIC_OPS_OF_tensorrt(GLIC_ADDRESS)};
#undef GLIC_ADDRESS
    count = static_cast<int32_t>(std::size(creators));
    return creators;
}

// The library logs nothing through TensorRT.
extern "C" GLIC_API void setLoggerFinder(nvinfer1::ILoggerFinder*) {}
