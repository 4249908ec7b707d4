// Products by SDOT, which adds four of signed bytes. An int16 is 256 times its high byte plus its low byte,
// of which 128 is left out, so that it has a sign: for each column this lacks 128 times the sum of the
// weights.
#ifndef GLIC_INTEGER_CPU_MULTIPLY_NEONDOTPROD_H
#define GLIC_INTEGER_CPU_MULTIPLY_NEONDOTPROD_H

#include <arm_neon.h>

#include <cstdint>

#include "../integer.h"

namespace glic {
namespace neondotprod {
namespace {

#define GLIC_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

using Weight = int8_t;
constexpr Packing kPacking = {4, sizeof(Weight), 128};
constexpr int64_t kRows = 6;
constexpr int64_t kColumns = 8;  // at a time: 24 registers of sums

// A row's four high bytes, then its four low bytes.
inline void place(int16_t* group, int64_t row, const int16_t* values) {
    const int8x8_t bytes = vreinterpret_s8_s16(vld1_s16(values));
    const int8x8_t low = veor_s8(vuzp1_s8(bytes, bytes), vdup_n_s8(-128)), high = vuzp2_s8(bytes, bytes);
    vst1_s16(group + 4 * row,
             vreinterpret_s16_s32(vzip1_s32(vreinterpret_s32_s8(high), vreinterpret_s32_s8(low))));
}

// Sums of high and of low bytes of two rows.
struct TwoRows {
    int32x4_t high[2][2], low[2][2];  // by row, by four columns
};

GLIC_DOTPROD inline void add_rows(TwoRows* sum, int8x16_t rows, int8x16_t left, int8x16_t right) {
    sum->high[0][0] = vdotq_laneq_s32(sum->high[0][0], left, rows, 0);
    sum->high[0][1] = vdotq_laneq_s32(sum->high[0][1], right, rows, 0);
    sum->low[0][0] = vdotq_laneq_s32(sum->low[0][0], left, rows, 1);
    sum->low[0][1] = vdotq_laneq_s32(sum->low[0][1], right, rows, 1);
    sum->high[1][0] = vdotq_laneq_s32(sum->high[1][0], left, rows, 2);
    sum->high[1][1] = vdotq_laneq_s32(sum->high[1][1], right, rows, 2);
    sum->low[1][0] = vdotq_laneq_s32(sum->low[1][0], left, rows, 3);
    sum->low[1][1] = vdotq_laneq_s32(sum->low[1][1], right, rows, 3);
}

GLIC_DOTPROD inline void multiply_columns(const int8_t* a, const int8_t* panel, int64_t groups,
                                          int32_t* sums) {
    TwoRows sum[kRows / 2];
    for (TwoRows& rows : sum) {
        for (int i = 0; i < 4; ++i) rows.high[i / 2][i % 2] = rows.low[i / 2][i % 2] = vdupq_n_s32(0);
    }
    for (int64_t g = 0; g < groups; ++g, a += 8 * kRows, panel += 4 * kPanelColumns) {
        const int8x16_t left = vld1q_s8(panel), right = vld1q_s8(panel + 16);
        add_rows(&sum[0], vld1q_s8(a), left, right);
        add_rows(&sum[1], vld1q_s8(a + 16), left, right);
        add_rows(&sum[2], vld1q_s8(a + 32), left, right);
    }
    for (int64_t r = 0; r < kRows; ++r) {
        for (int v = 0; v < 2; ++v) {
            const TwoRows& rows = sum[r / 2];
            vst1q_s32(sums + kPanelColumns * r + 4 * v,
                      vaddq_s32(vshlq_n_s32(rows.high[r % 2][v], 8), rows.low[r % 2][v]));
        }
    }
}

inline void multiply(const int16_t* a, const int8_t* panel, int64_t groups, int32_t* sums) {
    const int8_t* bytes = reinterpret_cast<const int8_t*>(a);
    for (int64_t j = 0; j < kPanelColumns; j += kColumns) {
        multiply_columns(bytes, panel + 4 * j, groups, sums + j);
    }
}

#undef GLIC_DOTPROD

}  // namespace
}  // namespace neondotprod
}  // namespace glic

#endif
