// One task of ComplexityMap: a tile of the map, row by row. Lanes are channels. Of the gradient's magnitude,
// only the three rows that the blur reads are in memory.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>
#include <cmath>

#include "../../common/vectors.inl"
#include "../complexity.h"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// Adjacent positions that are computed together.
constexpr int kPositions = 4;
constexpr int kReach = kPositions + 2;

inline int64_t clamp(int64_t value, int64_t first, int64_t last) {
    return std::min(std::max(value, first), last);
}

// A part of a row, from column `first` to before column `last`.
struct Columns {
    int64_t first, last;
};

// The offsets of columns `column - 1` to `column + kPositions` from the first column inside. The outermost
// columns inside stand for those beyond.
inline void offsets_around(int64_t column, Columns inside, int64_t channels, int64_t offsets[kReach]) {
    for (int i = 0; i < kReach; ++i) {
        offsets[i] = (clamp(column - 1 + i, inside.first, inside.last - 1) - inside.first) * channels;
    }
}

// Writes the gradient's magnitude of some columns of a row. rows: the row above, the row itself and the row
// below.
template <typename T>
void write_magnitudes(const T* const rows[3], int64_t width, int64_t channels, Columns columns, float* out) {
    const Vec two = set(2.0f), scale = set(kSquaredScale), least = set(kLeastSquare);
    for (int64_t column = columns.first; column < columns.last; column += kPositions) {
        // The last block overlaps the one before if the number of columns is no multiple.
        const int64_t block = clamp(columns.last - kPositions, columns.first, column);
        const int64_t count = std::min<int64_t>(kPositions, columns.last - block);
        int64_t offsets[kReach];
        offsets_around(block, {0, width}, channels, offsets);
        float* const to = out + (block - columns.first) * channels;
        for_vectors(channels, [&](auto whole, int64_t c, int some) {
            Vec sums[kReach], slopes[kReach];
#pragma GCC unroll 6
            for (int i = 0; i < kReach; ++i) {
                const int64_t at = offsets[i] + c;
                const Vec above = load_vector<whole>(rows[0] + at, some),
                          here = load_vector<whole>(rows[1] + at, some),
                          below = load_vector<whole>(rows[2] + at, some);
                sums[i] = fma(two, here, add(above, below));
                slopes[i] = sub(below, above);
            }
#pragma GCC unroll 4
            for (int i = 0; i < kPositions; ++i) {
                if (i >= count) break;
                const Vec x = sub(sums[i + 2], sums[i]),
                          y = fma(two, slopes[i + 1], add(slopes[i], slopes[i + 2]));
                const Vec square = fma(x, x, mul(y, y));
                store_vector<whole>(to + i * channels + c, sqrt(fma(square, scale, least)), some);
            }
        });
    }
}

// Writes the root mean square over the channels of the blurred magnitudes. rows: the magnitudes of three
// rows, of the columns `known`.
void write_blurred(const float* const rows[3], int64_t channels, Columns known, Columns columns, float* out) {
    const Vec outer = set(kOuterTap), inner = set(kInnerTap);
    const float share = 1.0f / static_cast<float>(channels);
    for (int64_t column = columns.first; column < columns.last; column += kPositions) {
        int64_t offsets[kReach];
        offsets_around(column, known, channels, offsets);
        Vec squares[kPositions];
        for (int i = 0; i < kPositions; ++i) squares[i] = set(0.0f);
        for_vectors(channels, [&](auto whole, int64_t c, int some) {
            Vec sums[kReach];
#pragma GCC unroll 6
            for (int i = 0; i < kReach; ++i) {
                const int64_t at = offsets[i] + c;
                const Vec around =
                    add(load_vector<whole>(rows[0] + at, some), load_vector<whole>(rows[2] + at, some));
                sums[i] = fma(outer, around, mul(inner, load_vector<whole>(rows[1] + at, some)));
            }
#pragma GCC unroll 4
            for (int i = 0; i < kPositions; ++i) {
                const Vec blurred = fma(outer, add(sums[i], sums[i + 2]), mul(inner, sums[i + 1]));
                squares[i] = fma(blurred, blurred, squares[i]);
            }
        });
        const int64_t count = std::min<int64_t>(kPositions, columns.last - column);
        for (int64_t i = 0; i < count; ++i) out[column + i] = std::sqrt(sum(squares[i]) * share);
    }
}

template <typename T>
void compute_tile(const ComplexityProblem& problem, size_t index, float* scratch) {
    const auto [images, height, width, channels] = problem.size;
    const int64_t strip = static_cast<int64_t>(index) % problem.strips(),
                  band = static_cast<int64_t>(index) / problem.strips() % problem.bands(),
                  image = static_cast<int64_t>(index) / problem.strips() / problem.bands();
    const Columns columns{strip * kStripColumns, std::min((strip + 1) * kStripColumns, width)},
        known{std::max<int64_t>(columns.first - 1, 0), std::min(columns.last + 1, width)};
    const int64_t first = band * kBandRows, last = std::min(first + kBandRows, height);
    const T* const x = static_cast<const T*>(problem.x) + image * height * width * channels;
    float* const out = problem.complexity + image * height * width;
    const auto magnitudes = [&, channels = channels](int64_t row) {
        return scratch + row % 3 * (kStripColumns + 2) * channels;
    };

    int64_t next = std::max<int64_t>(first - 1, 0);
    for (int64_t row = first; row < last; ++row) {
        const auto inside = [&, height = height](int64_t other) { return clamp(other, 0, height - 1); };
        for (; next <= inside(row + 1); ++next) {
            const T* rows[3];
            for (int i = 0; i < 3; ++i) rows[i] = x + inside(next - 1 + i) * width * channels;
            write_magnitudes(rows, width, channels, known, magnitudes(next));
        }
        const float* const rows[3] = {magnitudes(inside(row - 1)), magnitudes(row),
                                      magnitudes(inside(row + 1))};
        write_blurred(rows, channels, known, columns, out + row * width);
    }
}

}  // namespace

void complexity_task(const void* argument, size_t index, void* scratch) {
    const ComplexityProblem& problem = *static_cast<const ComplexityProblem*>(argument);
    if (problem.element == GLIC_FLOAT16) {
        compute_tile<uint16_t>(problem, index, static_cast<float*>(scratch));
    } else if (problem.element == GLIC_BFLOAT16) {
        compute_tile<Bfloat16>(problem, index, static_cast<float*>(scratch));
    } else {
        compute_tile<float>(problem, index, static_cast<float*>(scratch));
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
