// What onnxruntime calls when a session registers the library: adds the domain "glic" with all ops.
#include <string>
#include <vector>

#include "custom_op.h"

namespace {

OrtStatus* make_domain(OrtCustomOpDomain** domain) {
    glic::register_map_memory();
    if (OrtStatus* status = glic::api()->CreateCustomOpDomain("glic", domain)) return status;
    for (const auto op : {glic::dynamic_knn_op, glic::scatter_aggregate_op}) {
        for (const int32_t element : {GLIC_FLOAT32, GLIC_FLOAT16}) {
            if (OrtStatus* status = glic::api()->CustomOpDomain_Add(*domain, op(element))) return status;
        }
    }
    std::vector<const OrtCustomOp*> others = glic::transform_ops();
    others.insert(others.end(), {glic::integer_linear_op(), glic::integer_gated_ffn_op()});
    for (const OrtCustomOp* op : others) {
        if (OrtStatus* status = glic::api()->CustomOpDomain_Add(*domain, op)) return status;
    }
#if defined(GLIC_CUDA)
    for (const auto op : {glic::dynamic_knn_cuda_op, glic::scatter_aggregate_cuda_op}) {
        for (const int32_t element : {GLIC_FLOAT32, GLIC_FLOAT16, GLIC_BFLOAT16}) {
            if (OrtStatus* status = glic::api()->CustomOpDomain_Add(*domain, op(element))) return status;
        }
    }
#endif
    return nullptr;
}

}  // namespace

extern "C" GLIC_API OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
    const OrtApi* api = base->GetApi(glic::kApiVersion);
    if (api == nullptr) {
        const std::string message = std::string("glic's ops need onnxruntime 1.") +
                                    std::to_string(glic::kApiVersion) + " or later, this is " +
                                    base->GetVersionString() + ": pip install --upgrade onnxruntime";
        return base->GetApi(1)->CreateStatus(ORT_NOT_IMPLEMENTED, message.c_str());
    }
    glic::api() = api;
    // Sessions refer to the domain for as long as they live; the process keeps it.
    static OrtCustomOpDomain* domain = nullptr;
    static OrtStatus* const status = make_domain(&domain);
    if (status != nullptr) return api->CreateStatus(api->GetErrorCode(status), api->GetErrorMessage(status));
    return api->AddCustomOpDomain(options, domain);
}
