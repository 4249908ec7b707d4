#include "complexity_map/complexity_map.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

Floats measure(const glic_complexity_map_size& size, int32_t element, const void* x) {
    Floats complexity(static_cast<size_t>(size.images * size.height * size.width));
    require(glic_complexity_map_cpu(&size, element, x, complexity.data(), nullptr) == GLIC_OK,
            "ComplexityMap");
    return complexity;
}

}  // namespace

void compare() {
    Random random(11);
    for (int i = 0; i < 40; ++i) {
        const glic_complexity_map_size size{random.from_to(1, 2), random.from_to(1, 40), random.from_to(1, 70),
                                            random.from_to(1, 40)};
        Floats x = random.normals(size.images * size.height * size.width * size.channels);
        // A special value reaches all positions of its image through the mean.
        if (i % 4 == 1) x[x.size() / 2] = kSpecial[random.from_to(0, 10)];
        const std::vector<uint16_t> halves = to_bfloat16(x);
        Floats want, want_bfloat16;
        with_portable([&] {
            want = measure(size, GLIC_FLOAT32, x.data());
            want_bfloat16 = measure(size, GLIC_BFLOAT16, halves.data());
        });
        require_near(measure(size, GLIC_FLOAT32, x.data()), want, 2e-6f, "ComplexityMap is the portable one's");
        const Floats got = measure(size, GLIC_BFLOAT16, halves.data());
        require_near(got, want_bfloat16, 2e-6f, "ComplexityMap of bfloat16 is the portable one's");
        require(std::memcmp(got.data(), measure(size, GLIC_FLOAT32, from_bfloat16(halves).data()).data(),
                            got.size() * sizeof(float)) == 0 ||
                    i % 4 == 1,
                "ComplexityMap of bfloat16 is that of its values");
    }
}

// A map of the released models at 32 × 48 positions.
void run(int times) {
    const glic_complexity_map_size size{1, 32, 48, 192};
    Random random(12);
    const Floats x = random.normals(32 * 48 * 192);
    for (int i = 0; i < times; ++i) measure(size, GLIC_FLOAT32, x.data());
}

}  // namespace test
