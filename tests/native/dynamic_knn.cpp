#include "dynamic_knn/dynamic_knn.h"

#include "check.h"

namespace test {
namespace {

using Graph = std::vector<int32_t>;

Graph select(const glic_dynamic_knn_size& size, int32_t element, const void* x,
             const std::vector<float>& complexity) {
    Graph graph(static_cast<size_t>(size.images * size.height * size.width * 8));
    require(glic_dynamic_knn_cpu(&size, element, x, complexity.data(), graph.data(), nullptr) == GLIC_OK,
            "DynamicKnn");
    return graph;
}

int64_t different_edges(const Graph& a, const Graph& b) {
    int64_t count = 0;
    for (size_t i = 0; i < a.size(); ++i) count += __builtin_popcount(static_cast<uint32_t>(a[i] ^ b[i]));
    return count;
}

glic_dynamic_knn_size any_size(Random* random, int64_t channels) {
    return {1, 16 * random->from_to(1, 2), 16 * random->from_to(1, 2), channels,
            static_cast<int32_t>(random->from_to(0, 1))};
}

}  // namespace

void compare() {
    Random random(9);
    for (int i = 0; i < 12; ++i) {
        // Vectors of 4^n channels of -1 and 1, whose lengths and products are exact: so is the graph.
        const glic_dynamic_knn_size size = any_size(&random, int64_t{1} << 2 * random.from_to(0, 3));
        const int64_t nodes = size.height * size.width;
        std::vector<float> x(static_cast<size_t>(nodes * size.channels)),
            complexity(static_cast<size_t>(nodes));
        for (float& value : x) value = random.bits() % 2 ? 1.0f : -1.0f;
        for (float& value : complexity) value = static_cast<float>(random.from_to(0, 8));
        if (i % 3 == 0) std::fill(complexity.begin(), complexity.end(), 0.0f);  // no budget: not a number
        std::vector<uint16_t> halves;
        for (const float value : x) halves.push_back(value > 0 ? 0x3C00 : 0xBC00);
        Graph want;
        with_portable([&] { want = select(size, GLIC_FLOAT32, x.data(), complexity); });
        require(select(size, GLIC_FLOAT32, x.data(), complexity) == want, "the graph is the portable one");
        require(select(size, GLIC_FLOAT16, halves.data(), complexity) == want, "that of float16 too");
        require(select(size, GLIC_BFLOAT16, to_bfloat16(x).data(), complexity) == want,
                "that of bfloat16 too");
    }
    for (int i = 0; i < 8; ++i) {
        // Others are on the edge of the threshold once in a while.
        const glic_dynamic_knn_size size = any_size(&random, random.from_to(1, 70));
        const int64_t nodes = size.height * size.width;
        const std::vector<float> x = random.normals(nodes * size.channels);
        std::vector<float> complexity = random.normals(nodes);
        for (float& value : complexity) value = std::fabs(value);
        Graph want;
        with_portable([&] { want = select(size, GLIC_FLOAT32, x.data(), complexity); });
        const int64_t different = different_edges(select(size, GLIC_FLOAT32, x.data(), complexity), want);
        require(different * 10000 <= nodes * 256, "all but 1 of 10,000 edges are the portable ones",
                different);
    }
}

// A neighbour selection of the released models at 16 × 16 positions.
void run(int times) {
    const glic_dynamic_knn_size size{1, 16, 16, 192, GLIC_LOCAL};
    Random random(10);
    const std::vector<float> x = random.normals(16 * 16 * 192), complexity(16 * 16, 1.0f);
    for (int i = 0; i < times; ++i) select(size, GLIC_FLOAT32, x.data(), complexity);
}

}  // namespace test
