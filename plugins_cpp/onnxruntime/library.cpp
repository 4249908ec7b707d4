// What onnxruntime calls when a session registers the library: adds the domain "glic" with all ops.
#include <string>

#include "custom_op.h"

namespace {

OrtStatus* make_domain(OrtCustomOpDomain** domain) {
    glic::register_map_memory();
    if (OrtStatus* status = glic::api()->CreateCustomOpDomain("glic", domain)) return status;
    for (const OrtCustomOp* op : glic::ops()) {
        if (OrtStatus* status = glic::api()->CustomOpDomain_Add(*domain, op)) return status;
    }
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
