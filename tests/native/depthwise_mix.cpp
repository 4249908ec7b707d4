#include "depthwise_mix/depthwise_mix.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

Floats mix(const glic_depthwise_mix_size& size, const Floats& x, const Floats& before, const Floats& filter,
           const Floats& after) {
    Floats out(x.size());
    require(glic_depthwise_mix_cpu(&size, GLIC_FLOAT32, x.data(), before.data(), filter.data(), after.data(),
                                   out.data(), nullptr) == GLIC_OK,
            "DepthwiseMix");
    return out;
}

Floats mix_of_bfloat16(const glic_depthwise_mix_size& size, const Floats& x, const Floats& before,
                       const Floats& filter, const Floats& after) {
    std::vector<uint16_t> out(x.size());
    require(glic_depthwise_mix_cpu(&size, GLIC_BFLOAT16, to_bfloat16(x).data(), before.data(), filter.data(),
                                   after.data(), out.data(), nullptr) == GLIC_OK,
            "DepthwiseMix");
    return from_bfloat16(out);
}

}  // namespace

void compare() {
    Random random(3);
    for (int i = 0; i < 40; ++i) {
        const glic_depthwise_mix_size size{random.from_to(1, 2), random.from_to(1, 9), random.from_to(1, 30),
                                           random.from_to(1, 40), 2 * random.from_to(0, 3) + 1};
        Floats x = random.normals(size.images * size.height * size.width * size.channels);
        if (i % 2) add_special(&x, 100, &random);
        const Floats before = random.normals(size.channels), after = random.normals(size.channels),
                     filter = random.normals(size.channels * size.kernel * size.kernel);
        Floats want, want_bfloat16;
        with_portable([&] {
            want = mix(size, x, before, filter, after);
            want_bfloat16 = mix_of_bfloat16(size, x, before, filter, after);
        });
        require_near(mix(size, x, before, filter, after), want, 4e-6f, "DepthwiseMix is the portable one's");
        require_near(mix_of_bfloat16(size, x, before, filter, after), want_bfloat16, 8e-3f,
                     "DepthwiseMix of bfloat16 is the portable one's");
    }
}

// A token mixer of the released models at 32 × 48 positions.
void run(int times) {
    const glic_depthwise_mix_size size{1, 32, 48, 192, 5};
    Random random(4);
    const Floats x = random.normals(32 * 48 * 192), filter = random.normals(192 * 25),
                 bias = random.normals(192);
    for (int i = 0; i < times; ++i) mix(size, x, bias, filter, bias);
}

}  // namespace test
