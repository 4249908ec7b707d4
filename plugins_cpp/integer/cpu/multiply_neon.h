// Products of int16 added to int32 by NEON's SMLAL, which wraps around.
#ifndef GLIC_INTEGER_CPU_MULTIPLY_NEON_H
#define GLIC_INTEGER_CPU_MULTIPLY_NEON_H

#include <arm_neon.h>

#include <cstdint>

#include "../integer.h"

namespace glic {
namespace neon {
namespace {

using Weight = int16_t;
constexpr Packing kPacking = {1, sizeof(Weight), 0};
constexpr int64_t kRows = 6;
constexpr int64_t kColumns = 16;  // at a time: 24 registers of sums

inline void place(int16_t* group, int64_t row, const int16_t* values) { group[row] = *values; }

template <int lane>
inline void add_row(int32x4_t sum[4], int16x8_t left, int16x8_t right, int16x4_t rows) {
    sum[0] = vmlal_lane_s16(sum[0], vget_low_s16(left), rows, lane);
    sum[1] = vmlal_high_lane_s16(sum[1], left, rows, lane);
    sum[2] = vmlal_lane_s16(sum[2], vget_low_s16(right), rows, lane);
    sum[3] = vmlal_high_lane_s16(sum[3], right, rows, lane);
}

inline void multiply_columns(const int16_t* a, const int16_t* panel, int64_t inputs, int32_t* sums) {
    int32x4_t sum[kRows][4];
    for (auto& row : sum) {
        for (int32x4_t& vector : row) vector = vdupq_n_s32(0);
    }
    for (int64_t k = 0; k < inputs; ++k, a += kRows, panel += kPanelColumns) {
        const int16x8_t left = vld1q_s16(panel), right = vld1q_s16(panel + 8);
        const int16x4_t first = vld1_s16(a), last = vld1_s16(a + 2);  // rows 0 to 3, 2 to 5
        add_row<0>(sum[0], left, right, first);
        add_row<1>(sum[1], left, right, first);
        add_row<2>(sum[2], left, right, first);
        add_row<3>(sum[3], left, right, first);
        add_row<2>(sum[4], left, right, last);
        add_row<3>(sum[5], left, right, last);
    }
    for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t v = 0; v < 4; ++v) vst1q_s32(sums + kPanelColumns * r + 4 * v, sum[r][v]);
    }
}

inline void multiply(const int16_t* a, const int16_t* panel, int64_t inputs, int32_t* sums) {
    for (int64_t j = 0; j < kPanelColumns; j += kColumns) multiply_columns(a, panel + j, inputs, sums + j);
}

}  // namespace
}  // namespace neon
}  // namespace glic

#endif
