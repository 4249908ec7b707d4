// glic::DynamicKnn for the glue of the runtimes.
#ifndef GLIC_DYNAMIC_KNN_OP_H
#define GLIC_DYNAMIC_KNN_OP_H

#include "../common/check.h"
#include "../common/groups.h"
#include "../common/op.h"
#include "dynamic_knn.h"
#include "dynamic_knn_cuda.h"

namespace glic {

struct DynamicKnn : Op<signatures::DynamicKnn> {
    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("sampling", sampling_);
        visitor("window", window_, Presence::kOptional);
        visitor("sample", sample_, Presence::kOptional);
    }
    int check(const glic_shape* in, char* message) {
        return glic_dynamic_knn_check(in[0], in[1], sampling_, window_, sample_, &size_, message);
    }
    int check_attributes(char* message) const {
        return Checker("glic::DynamicKnn", message).attributes(sampling_, window_, sample_).result();
    }
    int check_cuda(const glic_shape* in, char* message) { return check(in, message); }
    std::vector<Shape> shapes(const glic_shape*) const {
        const Grid grid{size_.images, size_.height, size_.width, size_.sampling};
        return {{size_.images, grid.groups(), kQueries, kWords}};
    }
    static Shape expected(const Shape& x) {
        if (x.size() != 4) return {-1, -1, kQueries, kWords};
        const bool known = x[1] >= 0 && x[2] >= 0;
        return {x[0], known ? x[1] / kWindow * (x[2] / kWindow) : -1, kQueries, kWords};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_dynamic_knn_cpu(&size_, element, in[0], floats(in[1]), static_cast<int32_t*>(out[0]),
                                    threads);
    }
    int compute_cuda(int32_t element, const void* const* in, void* const* out, void*, void* stream) const {
        return glic_dynamic_knn_cuda(&size_, element, in[0], floats(in[1]), static_cast<int32_t*>(out[0]),
                                     stream);
    }

  private:
    glic_dynamic_knn_size size_{};
    int64_t sampling_ = 0, window_ = kWindow, sample_ = kSample;
};

}  // namespace glic

#endif
