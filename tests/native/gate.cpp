#include "gate/gate.h"

#include "check.h"

namespace test {
namespace {

using Floats = std::vector<float>;

Floats gate(const glic_gate_size& size, const Floats& x) {
    Floats out(static_cast<size_t>(size.positions * size.channels));
    require(glic_gate_cpu(&size, GLIC_FLOAT32, x.data(), out.data(), nullptr) == GLIC_OK, "Gate");
    return out;
}

Floats gate_of_bfloat16(const glic_gate_size& size, const Floats& x) {
    std::vector<uint16_t> out(static_cast<size_t>(size.positions * size.channels));
    require(glic_gate_cpu(&size, GLIC_BFLOAT16, to_bfloat16(x).data(), out.data(), nullptr) == GLIC_OK,
            "Gate");
    return from_bfloat16(out);
}

Floats depthwise_gate(const glic_depthwise_gate_size& size, const Floats& x, const Floats& filter) {
    Floats out(static_cast<size_t>(size.images * size.height * size.width * size.channels));
    require(
        glic_depthwise_gate_cpu(&size, GLIC_FLOAT32, x.data(), filter.data(), out.data(), nullptr) == GLIC_OK,
        "DepthwiseGate");
    return out;
}

}  // namespace

void compare() {
    Random random(1);
    for (int i = 0; i < 40; ++i) {
        const glic_gate_size size{random.from_to(1, 70), random.from_to(1, 70)};
        Floats x = random.normals(2 * size.positions * size.channels, 3.0f);
        if (i % 2) add_special(&x, 4, &random);
        Floats want, want_bfloat16;
        with_portable([&] { want = gate(size, x), want_bfloat16 = gate_of_bfloat16(size, x); });
        require_near(gate(size, x), want, 2e-6f, "Gate is the portable one's");
        require_near(gate_of_bfloat16(size, x), want_bfloat16, 8e-3f,
                     "Gate of bfloat16 is the portable one's");

        const glic_depthwise_gate_size map{random.from_to(1, 2), random.from_to(1, 9), random.from_to(1, 14),
                                           random.from_to(1, 40), 2 * random.from_to(0, 2) + 1};
        x = random.normals(map.images * map.height * map.width * 2 * map.channels);
        if (i % 2) add_special(&x, 50, &random);
        const Floats filter = random.normals(2 * map.channels * map.kernel * map.kernel);
        with_portable([&] { want = depthwise_gate(map, x, filter); });
        require_near(depthwise_gate(map, x, filter), want, 4e-6f, "DepthwiseGate is the portable one's");
    }
}

// A gate of the released models at 32 × 48 positions.
void run(int times) {
    const glic_depthwise_gate_size size{1, 32, 48, 384, 3};
    Random random(2);
    const Floats x = random.normals(32 * 48 * 768), filter = random.normals(768 * 9);
    for (int i = 0; i < times; ++i) depthwise_gate(size, x, filter);
}

}  // namespace test
