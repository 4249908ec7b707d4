#include "scatter_aggregate/scatter_aggregate.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

struct Case {
    glic_scatter_aggregate_size size;
    Floats q, kv, bias, scale;
    std::vector<int32_t> graph;

    // share: of 256, how many edges there are.
    Case(const glic_scatter_aggregate_size& s, float scale_of_all, int share, Random* random)
        : size(s),
          q(random->normals(s.images * s.height * s.width * s.channels)),
          kv(random->normals(2 * static_cast<int64_t>(q.size()))),
          bias(random->normals(s.heads * 64 * 256)),
          scale(static_cast<size_t>(s.heads), scale_of_all),
          graph(static_cast<size_t>(s.images * s.height * s.width * 8)) {
        for (int32_t& word : graph) {
            uint32_t bits = 0;
            for (int bit = 0; bit < 32; ++bit) bits |= uint32_t{random->from_to(0, 255) < share} << bit;
            word = static_cast<int32_t>(bits);
        }
    }

    Floats aggregate() const {
        Floats out(q.size());
        require(glic_scatter_aggregate_cpu(&size, GLIC_FLOAT32, q.data(), kv.data(), graph.data(),
                                           bias.data(), scale.data(), out.data(), nullptr) == GLIC_OK,
                "ScatterAggregate");
        return out;
    }

    Floats aggregate_bfloat16() const {
        std::vector<uint16_t> out(q.size());
        require(glic_scatter_aggregate_cpu(&size, GLIC_BFLOAT16, to_bfloat16(q).data(),
                                           to_bfloat16(kv).data(), graph.data(), bias.data(), scale.data(),
                                           out.data(), nullptr) == GLIC_OK,
                "ScatterAggregate");
        return from_bfloat16(out);
    }
};

}  // namespace

void compare() {
    Random random(11);
    for (const int64_t width : {24, 8, 1, 3, 13}) {
        for (int i = 0; i < 3; ++i) {
            const int64_t heads = random.from_to(1, 2);
            const glic_scatter_aggregate_size size{1,
                                                   16,
                                                   16 * random.from_to(1, 2),
                                                   heads * width,
                                                   heads,
                                                   static_cast<int32_t>(random.from_to(0, 1))};
            Case made(size, i % 2 ? 10.0f : 1.0f, i == 0 ? 0 : 1 << random.from_to(1, 8), &random);
            if (i == 1) made.q[0] = made.kv[made.kv.size() / 2] = kNotANumber, made.q[7] = 0.0f;
            if (i == 2) std::fill(made.kv.begin(), made.kv.begin() + width, 0.0f);
            Floats want, want_bfloat16;
            with_portable([&] { want = made.aggregate(), want_bfloat16 = made.aggregate_bfloat16(); });
            require_near(made.aggregate(), want, 2e-5f, "ScatterAggregate is the portable one's");
            require_near(made.aggregate_bfloat16(), want_bfloat16, 8e-3f,
                         "ScatterAggregate of bfloat16 is the portable one's");
        }
    }
}

// An attention of the released models at 16 × 16 positions: eight heads of 24 channels, about 64 edges a
// node.
void run(int times) {
    Random random(12);
    const Case made({1, 16, 16, 192, 8, GLIC_LOCAL}, 10.0f, 64, &random);
    for (int i = 0; i < times; ++i) made.aggregate();
}

}  // namespace test
