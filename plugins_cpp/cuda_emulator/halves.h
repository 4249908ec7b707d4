// float16 and bfloat16 as the GPU converts them: to nearest, ties to even.
#ifndef GLIC_CUDA_EMULATOR_HALVES_H
#define GLIC_CUDA_EMULATOR_HALVES_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace glic {

struct float16 {
    uint16_t bits = 0;

    float16() = default;
    explicit float16(float value) : bits(round(value)) {}

  private:
    static uint16_t round(float value) {
        const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
        const float magnitude = std::fabs(value);
        if (std::isnan(value)) return 0x7FFF;
        if (magnitude >= 65520.0f) return sign | 0x7C00;
        int exponent = 0;
        std::frexp(magnitude, &exponent);
        // Of the last bit that is kept; subnormal halves all have that of 2^-14.
        const int last = (exponent < -13 ? -13 : exponent) - 11;
        const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -last)));
        return sign | static_cast<uint16_t>(units < 1024 ? units : ((last + 24) << 10) + units);
    }
};

struct bfloat16 {
    uint16_t bits = 0;

    bfloat16() = default;
    explicit bfloat16(float value) {
        uint32_t wide;
        std::memcpy(&wide, &value, 4);
        bits = std::isnan(value) ? 0x7FFF : static_cast<uint16_t>((wide + 0x7FFF + (wide >> 16 & 1)) >> 16);
    }
};

inline float to_float(float16 half) {
    // The exponents differ by 112; an infinity or NaN has all ones in both.
    uint32_t wide = static_cast<uint32_t>(half.bits & 0x7FFF) << 13;
    float value;
    std::memcpy(&value, &wide, 4);
    value = (half.bits & 0x7C00) == 0x7C00 ? (half.bits & 0x3FF ? NAN : INFINITY) : value * 0x1p112f;
    return half.bits & 0x8000 ? -value : value;
}

inline float to_float(bfloat16 half) {
    const uint32_t wide = static_cast<uint32_t>(half.bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

}  // namespace glic

#endif
