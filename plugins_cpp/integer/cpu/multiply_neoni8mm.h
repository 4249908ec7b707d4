// Products by SMMLA: two rows of eight signed bytes with two columns. The two rows are the high and the low
// bytes of eight int16; multiply_neondotprod.h says how.
#ifndef GLIC_INTEGER_CPU_MULTIPLY_NEONI8MM_H
#define GLIC_INTEGER_CPU_MULTIPLY_NEONI8MM_H

#include <arm_neon.h>

#include <cstdint>

#include "../integer.h"

namespace glic {
namespace neoni8mm {
namespace {

#define GLIC_I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))

using Weight = int8_t;
constexpr Packing kPacking = {8, sizeof(Weight), 128};
constexpr int64_t kRows = 6;
constexpr int64_t kColumns = 8;  // at a time: 24 registers of sums

// A row's eight high bytes, then its eight low bytes.
inline void place(int16_t* group, int64_t row, const int16_t* values) {
    const int16x8_t all = vld1q_s16(values);
    const int8x8_t low = veor_s8(vmovn_s16(all), vdup_n_s8(-128)), high = vshrn_n_s16(all, 8);
    vst1q_s16(group + 8 * row, vreinterpretq_s16_s8(vcombine_s8(high, low)));
}

GLIC_I8MM inline void multiply_columns(const int8_t* a, const int8_t* panel, int64_t groups, int32_t* sums) {
    int32x4_t sum[kRows][4];  // by row, by two columns: their sums of high bytes, then of low bytes
    for (auto& row : sum) {
        for (int32x4_t& vector : row) vector = vdupq_n_s32(0);
    }
    for (int64_t g = 0; g < groups; ++g, a += 16 * kRows, panel += 8 * kPanelColumns) {
        int8x16_t rows[kRows];
        for (int64_t r = 0; r < kRows; ++r) rows[r] = vld1q_s8(a + 16 * r);
        for (int v = 0; v < 4; ++v) {
            const int8x16_t weights = vld1q_s8(panel + 16 * v);
            for (int64_t r = 0; r < kRows; ++r) sum[r][v] = vmmlaq_s32(sum[r][v], rows[r], weights);
        }
    }
    for (int64_t r = 0; r < kRows; ++r) {
        for (int v = 0; v < 4; ++v) {
            const int32x2_t high = vget_low_s32(sum[r][v]), low = vget_high_s32(sum[r][v]);
            vst1_s32(sums + kPanelColumns * r + 2 * v, vadd_s32(vshl_n_s32(high, 8), low));
        }
    }
}

inline void multiply(const int16_t* a, const int8_t* panel, int64_t groups, int32_t* sums) {
    const int8_t* bytes = reinterpret_cast<const int8_t*>(a);
    for (int64_t j = 0; j < kPanelColumns; j += kColumns) {
        multiply_columns(bytes, panel + 8 * j, groups, sums + j);
    }
}

#undef GLIC_I8MM

}  // namespace
}  // namespace neoni8mm
}  // namespace glic

#endif
