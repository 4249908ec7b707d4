#include "residual_norm/residual_norm.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

// The sums, then what they are when normalised.
std::pair<Floats, Floats> norm(const glic_residual_norm_size& size, const Floats& x, const Floats& update,
                               const Floats& bias) {
    Floats sum(x.size()), normed(static_cast<size_t>(size.positions * (size.channels + 1)));
    require(glic_residual_norm_cpu(&size, GLIC_FLOAT32, 1e-5f, x.data(), update.data(), bias.data(),
                                   sum.data(), normed.data(), nullptr) == GLIC_OK,
            "ResidualNorm");
    return {sum, normed};
}

std::pair<Floats, Floats> norm_of_bfloat16(const glic_residual_norm_size& size, const Floats& x,
                                           const Floats& update, const Floats& bias) {
    Floats sum(x.size());
    std::vector<uint16_t> normed(static_cast<size_t>(size.positions * (size.channels + 1)));
    require(glic_residual_norm_cpu(&size, GLIC_BFLOAT16, 1e-5f, x.data(), to_bfloat16(update).data(),
                                   bias.data(), sum.data(), normed.data(), nullptr) == GLIC_OK,
            "ResidualNorm");
    return {sum, from_bfloat16(normed)};
}

}  // namespace

void compare() {
    Random random(5);
    for (int i = 0; i < 60; ++i) {
        const glic_residual_norm_size size{random.from_to(1, 130), random.from_to(1, 70)};
        Floats x = random.normals(size.positions * size.channels, 3.0f);
        if (i % 2) add_special(&x, 100, &random);
        if (i % 5 == 0) std::fill(x.begin(), x.end(), 7.0f);
        const Floats update = random.normals(size.positions * size.channels),
                     bias = random.normals(size.channels);
        std::pair<Floats, Floats> want, want_bfloat16;
        with_portable([&] {
            want = norm(size, x, update, bias);
            want_bfloat16 = norm_of_bfloat16(size, x, update, bias);
        });
        const auto got = norm(size, x, update, bias), got_bfloat16 = norm_of_bfloat16(size, x, update, bias);
        require_near(got.first, want.first, 0.0f, "the sums are the portable ones");
        require_near(got.second, want.second, 4e-6f, "ResidualNorm is the portable one's");
        require_near(got_bfloat16.first, want_bfloat16.first, 0.0f, "the sums are the portable ones");
        require_near(got_bfloat16.second, want_bfloat16.second, 8e-3f,
                     "ResidualNorm of bfloat16 is the portable one's");
    }
}

// A norm of the released models at 32 × 48 positions.
void run(int times) {
    const glic_residual_norm_size size{32 * 48, 192};
    Random random(6);
    const Floats x = random.normals(32 * 48 * 192), update = random.normals(32 * 48 * 192),
                 bias = random.normals(192);
    for (int i = 0; i < times; ++i) norm(size, x, update, bias);
}

}  // namespace test
