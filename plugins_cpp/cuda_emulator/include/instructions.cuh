// The instructions of common/cuda/ptx/instructions.cuh as functions: what the PTX manual says that they do.
#ifndef GLIC_CUDA_EMULATOR_INSTRUCTIONS_CUH
#define GLIC_CUDA_EMULATOR_INSTRUCTIONS_CUH

#include <cuda_runtime.h>

#include "../halves.h"

namespace glic {

inline float to_float(float value) { return value; }

template <typename T>
T from_float(float value) {
    return T(value);
}

template <typename T>
uint32_t pack(float first, float second) {
    return T(first).bits | static_cast<uint32_t>(T(second).bits) << 16;
}

inline float round_to_tf32(float value) {
    // To nearest, ties away from zero; infinities and NaNs stay.
    const uint32_t bits = __float_as_uint(value);
    return std::isfinite(value) ? __uint_as_float((bits + 0x1000u) & ~0x1FFFu) : value;
}

inline float exp2_fast(float x) { return std::exp2(x); }

namespace emulated {

struct Product {
    float* sum;
    const void* a;
    const void* b;
};

// One m16n8 product from the registers of 32 lanes; a(row, k) and b(k, column) read elements.
template <int kDepth, typename A, typename B>
void multiply(void* const lanes[32], A a, B b) {
    float left[16][kDepth], right[8][kDepth];
    for (int k = 0; k < kDepth; ++k) {
        for (int row = 0; row < 16; ++row) left[row][k] = a(row, k);
        for (int column = 0; column < 8; ++column) right[column][k] = b(k, column);
    }
    for (int lane = 0; lane < 32; ++lane) {
        for (int index = 0; index < 4; ++index) {
            const float* row = left[lane / 4 + index / 2 * 8];
            const float* column = right[lane % 4 * 2 + index % 2];
            float& sum = static_cast<Product*>(lanes[lane])->sum[index];
            double total = sum;
            for (int k = 0; k < kDepth; ++k) total += static_cast<double>(row[k]) * column[k];
            sum = static_cast<float>(total);
        }
    }
}

// Elements of 16 bits: register r of `a` holds rows g + 8·(r % 2), columns 2t, 2t + 1 and 8·(r / 2) more.
template <typename T, int kDepth>
void multiply_halves(void* const lanes[32]) {
    const auto half = [&](const void* registers, int index, int part) {
        return to_float(static_cast<const T*>(registers)[2 * index + part]);
    };
    multiply<kDepth>(
        lanes,
        [&](int row, int k) {
            const int lane = row % 8 * 4 + k % 8 / 2;
            return half(static_cast<Product*>(lanes[lane])->a, row / 8 + k / 8 * 2, k % 2);
        },
        [&](int k, int column) {
            const int lane = column * 4 + k % 8 / 2;
            return half(static_cast<Product*>(lanes[lane])->b, k / 8, k % 2);
        });
}

inline void multiply_tf32(void* const lanes[32]) {
    multiply<8>(
        lanes,
        [&](int row, int k) {
            const int lane = row % 8 * 4 + k % 4;
            return static_cast<const float*>(static_cast<Product*>(lanes[lane])->a)[row / 8 + k / 4 * 2];
        },
        [&](int k, int column) {
            return static_cast<const float*>(static_cast<Product*>(lanes[column * 4 + k % 4])->b)[k / 4];
        });
}

struct ByteProduct {
    int32_t* sum;
    const uint32_t* a;
    const uint32_t* b;
};

// Bytes: register r of `a` holds rows g + 8·(r % 2), four columns from 4t + 16·(r / 2) on; A is their type.
template <typename A>
void multiply_bytes(void* const lanes[32]) {
    constexpr int kDepth = 32;
    const auto registers = [&](int lane) { return static_cast<ByteProduct*>(lanes[lane]); };
    const auto byte = [](uint32_t word, int k) { return static_cast<uint8_t>(word >> k % 4 * 8); };
    int32_t left[16][kDepth], right[8][kDepth];
    for (int k = 0; k < kDepth; ++k) {
        const int lane = k % 16 / 4, part = k / 16;
        for (int row = 0; row < 16; ++row) {
            left[row][k] = static_cast<A>(byte(registers(row % 8 * 4 + lane)->a[row / 8 + part * 2], k));
        }
        for (int column = 0; column < 8; ++column) {
            right[column][k] = static_cast<int8_t>(byte(registers(column * 4 + lane)->b[part], k));
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        for (int index = 0; index < 4; ++index) {
            const int32_t* row = left[lane / 4 + index / 2 * 8];
            const int32_t* column = right[lane % 4 * 2 + index % 2];
            int32_t total = 0;  // far below 2^31
            for (int k = 0; k < kDepth; ++k) total += row[k] * column[k];
            int32_t& sum = registers(lane)->sum[index];
            sum = static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(total));
        }
    }
}

}  // namespace emulated

template <typename T>
void multiply_16x8x16(float sum[4], const uint32_t a[4], const uint32_t b[2], T) {
    emulated::Product product{sum, a, b};
    glic_emulator::warp_collective("mma.m16n8k16", &product, emulated::multiply_halves<T, 16>);
}
template <typename T>
void multiply_16x8x8(float sum[4], const uint32_t a[2], uint32_t b, T) {
    emulated::Product product{sum, a, &b};
    glic_emulator::warp_collective("mma.m16n8k8", &product, emulated::multiply_halves<T, 8>);
}
inline void multiply_16x8x8_tf32(float sum[4], const float a[4], const float b[2]) {
    emulated::Product product{sum, a, b};
    glic_emulator::warp_collective("mma.m16n8k8.tf32", &product, emulated::multiply_tf32);
}

inline void multiply_unsigned_16x8x32(int32_t sum[4], const uint32_t a[4], const uint32_t b[2]) {
    emulated::ByteProduct product{sum, a, b};
    glic_emulator::warp_collective("mma.m16n8k32.u8", &product, emulated::multiply_bytes<uint8_t>);
}
inline void multiply_signed_16x8x32(int32_t sum[4], const uint32_t a[4], const uint32_t b[2]) {
    emulated::ByteProduct product{sum, a, b};
    glic_emulator::warp_collective("mma.m16n8k32.s8", &product, emulated::multiply_bytes<int8_t>);
}

namespace emulated {

struct Load {
    uint32_t* matrices;
    const void* row;
};

// Lanes 8·m to 8·m + 7 have the rows of matrix m.
template <int kMatrices>
void load_transposed(void* const lanes[32]) {
    for (int lane = 0; lane < 32; ++lane) {
        uint16_t* got = reinterpret_cast<uint16_t*>(static_cast<Load*>(lanes[lane])->matrices);
        for (int matrix = 0; matrix < kMatrices; ++matrix) {
            for (int part = 0; part < 2; ++part) {
                const int source = 8 * matrix + lane % 4 * 2 + part;
                const void* address = static_cast<Load*>(lanes[source])->row;
                glic_emulator::require_aligned(address, 16, "ldmatrix");
                got[2 * matrix + part] = static_cast<const uint16_t*>(address)[lane / 4];
            }
        }
    }
}

}  // namespace emulated

inline void load_transposed(uint32_t matrices[2], const void* row) {
    emulated::Load load{matrices, row};
    glic_emulator::warp_collective("ldmatrix.x2.trans", &load, emulated::load_transposed<2>);
}
inline void load_transposed_pair(uint32_t matrices[4], const void* row) {
    emulated::Load load{matrices, row};
    glic_emulator::warp_collective("ldmatrix.x4.trans", &load, emulated::load_transposed<4>);
}

inline void load_matrices(uint32_t matrices[4], const void* row) {
    struct Load {
        uint32_t* matrices;
        const void* row;
    } load{matrices, row};
    glic_emulator::warp_collective("ldmatrix.x4", &load, [](void* const lanes[32]) {
        for (int lane = 0; lane < 32; ++lane) {
            for (int matrix = 0; matrix < 4; ++matrix) {
                const void* address = static_cast<Load*>(lanes[8 * matrix + lane / 4])->row;
                glic_emulator::require_aligned(address, 16, "ldmatrix");
                static_cast<Load*>(lanes[lane])->matrices[matrix] =
                    static_cast<const uint32_t*>(address)[lane % 4];
            }
        }
    });
}

inline void copy_async(void* to, const void* from, bool inside) {
    glic_emulator::copy_async(to, inside ? from : nullptr, 16);
}
inline void copy_async_commit() { glic_emulator::copy_async_commit(); }
template <int kPending>
void copy_async_wait() {
    glic_emulator::copy_async_wait(kPending);
}

inline unsigned char* shared_memory() { return glic_emulator::shared_memory(); }

}  // namespace glic

#endif
