#include "projection/projection.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

struct Matrix {
    int64_t sides[2];
    Floats values;

    Matrix(int64_t inputs, int64_t outputs, Random* random)
        : sides{inputs, outputs},
          values(random->normals(inputs * outputs, 1.0f / std::sqrt(static_cast<float>(inputs)))) {}
    glic::Constant constant() const { return {{sides, 2}, values.data()}; }
};

Floats projection(const Matrix& weight, int32_t element, const Floats& x) {
    const glic::Constant constant = weight.constant();
    char message[GLIC_MESSAGE_SIZE];
    const auto layer = glic::make_projection(&constant, element, message);
    require(layer != nullptr, message);
    const int64_t positions = static_cast<int64_t>(x.size()) / weight.sides[0];
    Floats result(static_cast<size_t>(positions * weight.sides[1]));
    float* out[] = {result.data()};
    require(glic::project(*layer, x.data(), positions, out, nullptr) == GLIC_OK, "Projection");
    return result;
}

// Both outputs, one after the other.
Floats norm_qkv(const Matrix& query, const Matrix& key_value, int32_t element, const Floats& x) {
    const glic::Constant constants[] = {query.constant(), key_value.constant()};
    char message[GLIC_MESSAGE_SIZE];
    const auto layer = glic::make_norm_qkv(constants, 1e-5f, element, message);
    require(layer != nullptr, message);
    const int64_t positions = static_cast<int64_t>(x.size()) / (query.sides[0] - 1);
    Floats result(static_cast<size_t>(positions * (query.sides[1] + key_value.sides[1])));
    float* out[] = {result.data(), result.data() + positions * query.sides[1]};
    require(glic::project(*layer, x.data(), positions, out, nullptr) == GLIC_OK, "NormQkv");
    return result;
}

}  // namespace

void compare() {
    Random random(21);
    for (int i = 0; i < 40; ++i) {
        const Matrix weight(random.from_to(1, 90), random.from_to(1, 150), &random);
        const Floats x = random.normals(random.from_to(1, 110) * weight.sides[0]);
        Floats want, want_bfloat16;
        with_portable([&] {
            want = projection(weight, GLIC_FLOAT32, x), want_bfloat16 = projection(weight, GLIC_BFLOAT16, x);
        });
        require_near(projection(weight, GLIC_FLOAT32, x), want, 4e-6f, "Projection is the portable one's");
        require(projection(weight, GLIC_BFLOAT16, x) == want_bfloat16,
                "Projection in bfloat16 is the portable one's, bit for bit", i);

        const int64_t channels = random.from_to(2, 90);
        const Matrix query(channels + 1, random.from_to(1, 80), &random);
        const Matrix key_value(channels + 1, random.from_to(1, 80), &random);
        const Floats map = random.normals(random.from_to(1, 110) * channels, 3.0f);
        with_portable([&] {
            want = norm_qkv(query, key_value, GLIC_FLOAT32, map);
            want_bfloat16 = norm_qkv(query, key_value, GLIC_BFLOAT16, map);
        });
        require_near(norm_qkv(query, key_value, GLIC_FLOAT32, map), want, 1e-5f,
                     "NormQkv is the portable one's");
        require_near(norm_qkv(query, key_value, GLIC_BFLOAT16, map), want_bfloat16, 8e-3f,
                     "NormQkv in bfloat16 is the portable one's");
    }
}

// A projection of the released models at 32 × 48 positions.
void run(int times) {
    Random random(22);
    const Matrix weight(384, 384, &random);
    const Floats x = random.normals(32 * 48 * 384);
    for (int i = 0; i < times; ++i) projection(weight, GLIC_FLOAT32, x);
}

}  // namespace test
