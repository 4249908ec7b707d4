// One row of tiles of the Winograd ops: lanes are channels.
#include "../../common/simd.h"
// The instruction set comes first.
#include "../../common/vectors.inl"
#include "kernel.h"
#include "patch.inl"

namespace glic {
namespace GLIC_SIMD {
namespace {

template <typename T>
void transform_row(const WinogradInputProblem& problem, int64_t index) {
    const auto [images, rows, columns, channels] = problem.size;
    const int64_t image = index / rows, row = index % rows;
    const int64_t height = kTile * rows, width = kTile * columns, plane = images * rows * columns * channels;
    for (int64_t column = 0; column < columns; ++column) {
        const int64_t top = kTile * row - 1, left = kTile * column - 1;
        const T* x = static_cast<const T*>(problem.x) + ((image * height + top) * width + left) * channels;
        T* out = static_cast<T*>(problem.out) + (index * columns + column) * channels;
        for_vectors(channels, [&, width = width, channels = channels](auto whole, int64_t c, int some) {
            Vec d[kPatch * kPatch];
            for (int i = 0; i < kPatch; ++i) {
                for (int j = 0; j < kPatch; ++j) {
                    const bool inside = top + i >= 0 && top + i < height && left + j >= 0 && left + j < width;
                    d[i * kPatch + j] =
                        inside ? load_vector<whole>(x + (i * width + j) * channels + c, some) : set(0.0f);
                }
            }
            to_patch(d);
            for (int p = 0; p < kPatch * kPatch; ++p) store_vector<whole>(out + p * plane + c, d[p], some);
        });
    }
}

template <typename T>
void shuffle_row(const WinogradShuffleProblem& problem, int64_t index) {
    const auto [images, rows, columns, channels] = problem.size;
    const int64_t image = index / rows, row = index % rows;
    const int64_t height = 2 * kTile * rows, width = 2 * kTile * columns;
    const int64_t plane = images * rows * columns * 4 * channels;
    for (int64_t column = 0; column < columns; ++column) {
        const T* m = static_cast<const T*>(problem.m) + (index * columns + column) * 4 * channels;
        for (int phase = 0; phase < 4; ++phase) {
            const int64_t top = 2 * kTile * row + phase / 2, left = 2 * kTile * column + phase % 2;
            float* out = problem.out + ((image * height + top) * width + left) * channels;
            const int64_t from = phase * channels;
            for_vectors(channels, [&, width = width, channels = channels](auto whole, int64_t c, int some) {
                Vec d[kPatch * kPatch];
                for (int p = 0; p < kPatch * kPatch; ++p) {
                    d[p] = load_vector<whole>(m + p * plane + from + c, some);
                }
                from_patch(d);
                const Vec bias = load_vector<whole>(problem.bias + from + c, some);
                for (int i = 0; i < kTile; ++i) {
                    for (int j = 0; j < kTile; ++j) {
                        float* const at = out + 2 * (i * width + j) * channels + c;
                        store_vector<whole>(at, add(d[i * kPatch + j], bias), some);
                    }
                }
            });
        }
    }
}

}  // namespace

void winograd_input_task(const void* argument, size_t index, void*) {
    const WinogradInputProblem& problem = *static_cast<const WinogradInputProblem*>(argument);
    if (problem.element == GLIC_BFLOAT16) {
        transform_row<Bfloat16>(problem, static_cast<int64_t>(index));
    } else {
        transform_row<float>(problem, static_cast<int64_t>(index));
    }
}

void winograd_shuffle_task(const void* argument, size_t index, void*) {
    const WinogradShuffleProblem& problem = *static_cast<const WinogradShuffleProblem*>(argument);
    if (problem.element == GLIC_BFLOAT16) {
        shuffle_row<Bfloat16>(problem, static_cast<int64_t>(index));
    } else {
        shuffle_row<float>(problem, static_cast<int64_t>(index));
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
