// The two symbols that TensorRT looks for in a plugin library.
#include "plugin.h"

extern "C" GLIC_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static nvinfer1::IPluginCreatorInterface* const creators[] = {glic::dynamic_knn_creator(),
                                                                  glic::scatter_aggregate_creator()};
    count = static_cast<int32_t>(std::size(creators));
    return creators;
}

// The library logs nothing through TensorRT.
extern "C" GLIC_API void setLoggerFinder(nvinfer1::ILoggerFinder*) {}
