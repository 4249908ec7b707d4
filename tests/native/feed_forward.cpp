#include "feed_forward/feed_forward.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

// A block with a depthwise filter of side `kernel`, or without one: 0.
struct Block {
    int64_t channels, hidden, kernel;
    int64_t expand_sides[2], filter_sides[4], project_sides[2];
    Floats bias, expand, filter, project;

    Block(int64_t c, int64_t h, int64_t k, Random* random)
        : channels(c),
          hidden(h),
          kernel(k),
          expand_sides{c + 1, 2 * h},
          filter_sides{2 * h, 1, k, k},
          project_sides{h, c},
          bias(random->normals(c)),
          expand(random->normals((c + 1) * 2 * h, 1.0f / std::sqrt(static_cast<float>(c)))),
          filter(random->normals(2 * h * k * k, 1.0f / static_cast<float>(k > 0 ? k : 1))),
          project(random->normals(h * c, 1.0f / std::sqrt(static_cast<float>(h)))) {}

    std::unique_ptr<glic::FeedForwardBlock> make(int32_t element) const {
        std::vector<glic::Constant> constants{{{&channels, 1}, bias.data()},
                                              {{expand_sides, 2}, expand.data()}};
        if (kernel > 0) constants.push_back({{filter_sides, 4}, filter.data()});
        constants.push_back({{project_sides, 2}, project.data()});
        char message[GLIC_MESSAGE_SIZE];
        auto made = glic::make_feed_forward(constants.data(), kernel > 0, 1e-5f, element, message);
        require(made != nullptr, message);
        return made;
    }
};

// A block with a depthwise mixer of `mixed` channels before a feed-forward.
struct Mixed {
    Block block;
    int64_t mixed, kernel;
    int64_t expand_sides[2], filter_sides[4], project_sides[2];
    Floats expand, filter, bias, project;

    Mixed(int64_t c, int64_t h, int64_t m, int64_t k, Random* random)
        : block(c, h, 0, random),
          mixed(m),
          kernel(k),
          expand_sides{c + 1, m},
          filter_sides{m, 1, k, k},
          project_sides{m, c},
          expand(random->normals((c + 1) * m, 1.0f / std::sqrt(static_cast<float>(c)))),
          filter(random->normals(m * k * k, 1.0f / static_cast<float>(k))),
          bias(random->normals(m)),
          project(random->normals(m * c, 1.0f / std::sqrt(static_cast<float>(m)))) {}

    std::unique_ptr<glic::FeedForwardBlock> make(int32_t element) const {
        const glic::Constant constants[] = {{{expand_sides, 2}, expand.data()},
                                            {{filter_sides, 4}, filter.data()},
                                            {{&mixed, 1}, bias.data()},
                                            {{project_sides, 2}, project.data()},
                                            {{&block.channels, 1}, block.bias.data()},
                                            {{block.expand_sides, 2}, block.expand.data()},
                                            {{block.project_sides, 2}, block.project.data()}};
        char message[GLIC_MESSAGE_SIZE];
        auto made = glic::make_gated_transform(constants, 1e-5f, element, message);
        require(made != nullptr, message);
        return made;
    }
};

struct Map {
    int64_t images, height, width;
    int64_t positions() const { return images * height * width; }
};

Floats feed_forward(const Block& block, int32_t element, const Map& map, const Floats& x,
                    const Floats& update) {
    const auto made = block.make(element);
    Floats out(x.size());
    const int result =
        block.kernel > 0
            ? glic::depthwise_feed_forward(*made, x.data(), update.data(), map.images, map.height, map.width,
                                           out.data(), nullptr)
            : glic::feed_forward(*made, x.data(), update.data(), map.positions(), out.data(), nullptr);
    require(result == GLIC_OK, block.kernel > 0 ? "DepthwiseFeedForward" : "FeedForward");
    return out;
}

Floats gated_transform(const Mixed& block, int32_t element, const Map& map, const Floats& x) {
    Floats out(x.size());
    const int result = glic::depthwise_feed_forward(*block.make(element), x.data(), nullptr, map.images,
                                                    map.height, map.width, out.data(), nullptr);
    require(result == GLIC_OK, "GatedTransform");
    return out;
}

void compare_gated_transform(Random* random) {
    const Mixed block(random->from_to(3, 70), random->from_to(1, 90), random->from_to(1, 70),
                      2 * random->from_to(0, 3) + 1, random);
    const Map map{random->from_to(1, 2), random->from_to(1, 9), random->from_to(1, 14)};
    const Floats x = random->normals(map.positions() * block.block.channels, 3.0f);
    Floats want, want_bfloat16;
    with_portable([&] {
        want = gated_transform(block, GLIC_FLOAT32, map, x);
        want_bfloat16 = gated_transform(block, GLIC_BFLOAT16, map, x);
    });
    require_near(gated_transform(block, GLIC_FLOAT32, map, x), want, 1e-5f,
                 "the transform is the portable one's");
    require_near(gated_transform(block, GLIC_BFLOAT16, map, x), want_bfloat16, 8e-3f,
                 "the transform in bfloat16 is the portable one's");
}

}  // namespace

void compare() {
    Random random(23);
    for (int i = 0; i < 20; ++i) compare_gated_transform(&random);
    for (int i = 0; i < 40; ++i) {
        const int64_t kernel = i % 2 ? 2 * random.from_to(0, 2) + 1 : 0;
        const Block block(random.from_to(2, 70), random.from_to(1, 90), kernel, &random);
        const Map map{random.from_to(1, 2), random.from_to(1, 9), random.from_to(1, 14)};
        const Floats x = random.normals(map.positions() * block.channels, 3.0f);
        const Floats update = random.normals(map.positions() * block.channels);
        Floats want, want_bfloat16;
        with_portable([&] {
            want = feed_forward(block, GLIC_FLOAT32, map, x, update);
            want_bfloat16 = feed_forward(block, GLIC_BFLOAT16, map, x, update);
        });
        require_near(feed_forward(block, GLIC_FLOAT32, map, x, update), want, 1e-5f,
                     "the block is the portable one's");
        require_near(feed_forward(block, GLIC_BFLOAT16, map, x, update), want_bfloat16, 8e-3f,
                     "the block in bfloat16 is the portable one's");
    }
}

// A block of the released models at 32 × 48 positions.
void run(int times) {
    Random random(24);
    const Block block(192, 384, 3, &random);
    const Map map{1, 32, 48};
    const Floats x = random.normals(map.positions() * 192), update = random.normals(map.positions() * 192);
    for (int i = 0; i < times; ++i) feed_forward(block, GLIC_FLOAT32, map, x, update);
}

}  // namespace test
