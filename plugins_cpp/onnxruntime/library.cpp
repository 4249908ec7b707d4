// What onnxruntime calls when a session registers the library: adds the domain "glic" with all ops.
#include <cstring>
#include <string>

#include "custom_op.h"

namespace {

// The domain whose ops multiply in the type `products`. Sessions refer to it for as long as they live; the
// process keeps it.
template <int32_t products>
OrtStatus* add_domain(OrtSessionOptions* options) {
    static OrtCustomOpDomain* domain = nullptr;
    static OrtStatus* const status = [] {
        OrtStatus* failure = glic::api()->CreateCustomOpDomain("glic", &domain);
        for (const OrtCustomOp* op : glic::ops<products>()) {
            if (!failure) failure = glic::api()->CustomOpDomain_Add(domain, op);
        }
        return failure;
    }();
    if (status != nullptr) {
        return glic::api()->CreateStatus(glic::api()->GetErrorCode(status),
                                         glic::api()->GetErrorMessage(status));
    }
    return glic::api()->AddCustomOpDomain(options, domain);
}

// Whether the session's options say that products are to be of bfloat16: entry "glic.products" is "bf16".
OrtStatus* wants_bfloat16(const OrtSessionOptions* options, bool* wanted) {
    constexpr const char* kEntry = "glic.products";
    char value[8] = "";
    size_t size = sizeof value;
    int given = 0;
    OrtStatus* status = glic::api()->HasSessionConfigEntry(options, kEntry, &given);
    if (!status && given) status = glic::api()->GetSessionConfigEntry(options, kEntry, value, &size);
    *wanted = std::strcmp(value, "bf16") == 0;
    return status;
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
    static const bool pooled = (glic::register_map_memory(), true);
    static_cast<void>(pooled);
    bool bfloat16 = false;
    if (OrtStatus* status = wants_bfloat16(options, &bfloat16)) return status;
    return bfloat16 ? add_domain<GLIC_BFLOAT16>(options) : add_domain<GLIC_FLOAT32>(options);
}
