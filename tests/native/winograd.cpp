#include "winograd/winograd.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

int64_t tiles(const glic_winograd_size& size) { return size.images * size.rows * size.columns; }

Floats transform(const glic_winograd_size& size, const Floats& x) {
    Floats out(static_cast<size_t>(36 * tiles(size) * size.channels));
    require(glic_winograd_input_cpu(&size, GLIC_FLOAT32, x.data(), out.data(), nullptr) == GLIC_OK,
            "WinogradInput");
    return out;
}

Floats transform_bfloat16(const glic_winograd_size& size, const Floats& x) {
    std::vector<uint16_t> out(static_cast<size_t>(36 * tiles(size) * size.channels));
    require(
        glic_winograd_input_cpu(&size, GLIC_BFLOAT16, to_bfloat16(x).data(), out.data(), nullptr) == GLIC_OK,
        "WinogradInput");
    return from_bfloat16(out);
}

Floats shuffle(const glic_winograd_size& size, const Floats& m, const Floats& bias) {
    Floats out(static_cast<size_t>(64 * tiles(size) * size.channels));
    require(
        glic_winograd_shuffle_cpu(&size, GLIC_FLOAT32, m.data(), bias.data(), out.data(), nullptr) == GLIC_OK,
        "WinogradShuffle");
    return out;
}

Floats shuffle_bfloat16(const glic_winograd_size& size, const Floats& m, const Floats& bias) {
    Floats out(static_cast<size_t>(64 * tiles(size) * size.channels));
    require(glic_winograd_shuffle_cpu(&size, GLIC_BFLOAT16, to_bfloat16(m).data(), bias.data(), out.data(),
                                      nullptr) == GLIC_OK,
            "WinogradShuffle");
    return out;
}

}  // namespace

void compare() {
    Random random(7);
    for (int i = 0; i < 40; ++i) {
        const glic_winograd_size size{random.from_to(1, 2), random.from_to(1, 3), random.from_to(1, 3),
                                      random.from_to(1, 40)};
        Floats x = random.normals(16 * tiles(size) * size.channels);
        Floats m = random.normals(36 * tiles(size) * 4 * size.channels);
        // Without infinities, whose differences depend on the order.
        if (i % 2) x[x.size() / 2] = kNotANumber, m[m.size() / 2] = kNotANumber, x[0] = -0.0f, m[0] = 1e-40f;
        const Floats bias = random.normals(4 * size.channels);
        Floats want[4];
        with_portable([&] {
            want[0] = transform(size, x), want[1] = transform_bfloat16(size, x);
            want[2] = shuffle(size, m, bias), want[3] = shuffle_bfloat16(size, m, bias);
        });
        require_near(transform(size, x), want[0], 2e-6f, "WinogradInput is the portable one's");
        require_near(transform_bfloat16(size, x), want[1], 8e-3f,
                     "WinogradInput of bfloat16 is the portable one's");
        require_near(shuffle(size, m, bias), want[2], 2e-6f, "WinogradShuffle is the portable one's");
        require_near(shuffle_bfloat16(size, m, bias), want[3], 2e-6f,
                     "WinogradShuffle of bfloat16 is the portable one's");
    }
}

// An up-sampling of the released models at 32 × 48 positions, both ways.
void run(int times) {
    const glic_winograd_size in{1, 8, 12, 192}, out{1, 8, 12, 192};
    Random random(8);
    const Floats x = random.normals(32 * 48 * 192), m = random.normals(36 * 96 * 768),
                 bias = random.normals(768);
    for (int i = 0; i < times; ++i) transform(in, x), shuffle(out, m, bias);
}

}  // namespace test
