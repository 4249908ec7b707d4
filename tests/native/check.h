// What the programs that compare the builds of a kernel share.
//
//     test_KERNEL                   compares every instruction set of this processor with "portable"; prints
//     each test_KERNEL run ISA TIMES     computes the shape whose instructions are counted so many times
//
// A program defines compare(), which computes and compares with the selected instruction set, and run(times).
#ifndef GLIC_TESTS_NATIVE_CHECK_H
#define GLIC_TESTS_NATIVE_CHECK_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "common/bfloat16.h"
#include "common/kernel.h"

namespace test {

// Ends the program if something does not hold.
inline void require(bool holds, const char* what, long long at = -1) {
    if (holds) return;
    std::fprintf(stderr, "%s: does not hold with %s (at %lld)\n", what, glic_selected_isa(), at);
    std::exit(1);
}

// Numbers that look random, the same in every run.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u | 1) {}
    uint32_t bits() {
        state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
        return static_cast<uint32_t>(state_ >> 32);
    }
    int64_t from_to(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
    }
    float uniform(float low, float high) {
        return low + (high - low) * (static_cast<float>(bits() >> 8) / 16777216.0f);
    }
    // About normal: the sum of four uniform numbers.
    float normal() {
        float sum = 0.0f;
        for (int i = 0; i < 4; ++i) sum += uniform(-0.866f, 0.866f);
        return sum;
    }
    std::vector<float> normals(int64_t count, float scale = 1.0f) {
        std::vector<float> values(static_cast<size_t>(count));
        for (float& value : values) value = scale * normal();
        return values;
    }

  private:
    uint64_t state_;
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
// Zeros, subnormal numbers, infinities and what is no number.
constexpr float kSpecial[] = {0.0f, -0.0f, 1e-40f,    -1e-40f,    1e-38f,     -1e-38f,
                              1e4f, -1e4f, kInfinity, -kInfinity, kNotANumber};

// Replaces about one of `each` values by a special one.
inline void add_special(std::vector<float>* values, int64_t each, Random* random) {
    for (float& value : *values) {
        if (random->from_to(1, each) == 1) value = kSpecial[random->from_to(0, 10)];
    }
}

// float32 values as the kernels' elements, and back.
inline std::vector<uint16_t> to_bfloat16(const std::vector<float>& values) {
    std::vector<uint16_t> halves(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        uint32_t bits;
        std::memcpy(&bits, &values[i], sizeof(bits));
        halves[i] = static_cast<uint16_t>(bits >> 16);
    }
    return halves;
}
inline std::vector<float> from_bfloat16(const std::vector<uint16_t>& halves) {
    std::vector<float> values(halves.size());
    for (size_t i = 0; i < values.size(); ++i) {
        const uint32_t bits = static_cast<uint32_t>(halves[i]) << 16;
        std::memcpy(&values[i], &bits, sizeof(bits));
    }
    return values;
}

// Requires that got is want, each value to `tolerance` of the largest finite one (or of 1), and that both are
// infinite or no number in the same places.
inline void require_near(const std::vector<float>& got, const std::vector<float>& want, float tolerance,
                         const char* what) {
    float largest = 1.0f;
    for (const float value : want) {
        if (std::isfinite(value)) largest = std::fmax(largest, std::fabs(value));
    }
    for (size_t i = 0; i < want.size(); ++i) {
        const bool same = got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]));
        const bool near = std::isfinite(want[i]) && std::fabs(got[i] - want[i]) <= tolerance * largest;
        require(same || near, what, static_cast<long long>(i));
    }
}

// Computes with "portable", and then again with the instruction set that was selected.
template <typename Compute>
inline void with_portable(Compute compute) {
    const char* selected = glic_selected_isa();
    require(glic_select_isa("portable") == GLIC_OK, "plain C++ is always there");
    compute();
    require(glic_select_isa(selected) == GLIC_OK, "the instruction set is there again");
}

void compare();
void run(int times);

}  // namespace test

#endif
