#include "../gated_ffn.h"

#include "../../common/check.h"

namespace {

constexpr int64_t kMultiple = 8;

}  // namespace

int glic_gated_ffn_check(glic_shape x, glic_shape expand, glic_shape bias, glic_shape project,
                         glic_gated_ffn_size* size, char* message) {
    glic::Checker check("glic::GatedFfn", message);
    check.sides("x", x).sides("expand", expand).sides("project", project);
    if (!check.ok()) return check.result();
    check.that(x.rank >= 1, "x has no dimensions, expected channels last")
        .that(expand.rank == 2, "expand has %zu dimensions, expected 2: inputs by outputs", expand.rank)
        .that(project.rank == 2, "project has %zu dimensions, expected 2: inputs by outputs", project.rank);
    if (!check.ok()) return check.result();
    const int64_t channels = x.dims[x.rank - 1], hidden = project.dims[0];
    check
        .that(channels > 0 && channels % kMultiple == 0 && channels <= GLIC_GATED_FFN_MAX_CHANNELS,
              "x has %lld channels, expected a multiple of 8 from 8 to %d", static_cast<long long>(channels),
              GLIC_GATED_FFN_MAX_CHANNELS)
        .that(hidden > 0 && hidden % kMultiple == 0,
              "project has %lld inputs, expected a multiple of 8 above 0", static_cast<long long>(hidden))
        .shape("project", project, {hidden, channels})
        .shape("expand", expand, {channels, 2 * hidden})
        .shape("bias", bias, {2 * hidden});
    int64_t positions = 1;
    for (size_t i = 0; i + 1 < x.rank; ++i) positions *= x.dims[i];
    if (check.ok()) *size = {positions, channels, hidden};
    return check.result();
}
