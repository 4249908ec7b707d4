#include "../gated_ffn.h"

#include "../../common/check.h"

namespace {

constexpr int64_t kMultiple = 8;

// What both ops check; the channels and hidden channels are then those of `project`.
void check_weights(glic::Checker* check, glic_shape x, int most, glic_shape expand, glic_shape bias,
                   glic_shape project) {
    check->sides("x", x).sides("expand", expand).sides("project", project);
    if (!check->ok()) return;
    check->that(x.rank >= 1, "x has no dimensions, expected channels last")
        .that(project.rank == 2, "project has %zu dimensions, expected 2: inputs by outputs", project.rank);
    if (!check->ok()) return;
    const int64_t channels = x.dims[x.rank - 1], hidden = project.dims[0];
    check
        ->that(channels > 0 && channels % kMultiple == 0 && channels <= most,
               "x has %lld channels, expected a multiple of 8 from 8 to %d", static_cast<long long>(channels),
               most)
        .that(hidden > 0 && hidden % kMultiple == 0,
              "project has %lld inputs, expected a multiple of 8 above 0", static_cast<long long>(hidden))
        .shape("project", project, {hidden, channels})
        .shape("expand", expand, {channels, 2 * hidden})
        .shape("bias", bias, {2 * hidden});
}

}  // namespace

int glic_gated_ffn_check(glic_shape x, glic_shape expand, glic_shape bias, glic_shape project,
                         glic_gated_ffn_size* size, char* message) {
    glic::Checker check("glic::GatedFfn", message);
    check_weights(&check, x, GLIC_GATED_FFN_MAX_CHANNELS, expand, bias, project);
    if (!check.ok()) return check.result();
    int64_t positions = 1;
    for (size_t i = 0; i + 1 < x.rank; ++i) positions *= x.dims[i];
    *size = {positions, project.dims[1], project.dims[0]};
    return check.result();
}

int glic_depthwise_gated_ffn_check(glic_shape x, glic_shape expand, glic_shape bias, glic_shape filter,
                                   glic_shape project, glic_depthwise_gated_ffn_size* size, char* message) {
    glic::Checker check("glic::DepthwiseGatedFfn", message);
    check_weights(&check, x, GLIC_DEPTHWISE_GATED_FFN_MAX_CHANNELS, expand, bias, project);
    if (!check.ok()) return check.result();
    check.that(x.rank == 4, "x has %zu dimensions, expected [N, H, W, C]", x.rank)
        .shape("filter", filter, {2 * project.dims[0], 1, 3, 3});
    if (check.ok()) *size = {x.dims[0], x.dims[1], x.dims[2], project.dims[1], project.dims[0]};
    return check.result();
}
