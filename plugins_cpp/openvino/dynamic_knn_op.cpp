#include "../common/groups.h"
#include "../dynamic_knn/dynamic_knn.h"
#include "extension.h"

namespace glic {
namespace {

constexpr const char* kName = "glic::DynamicKnn";

class DynamicKnn : public ov::op::Op {
  public:
    OPENVINO_OP("DynamicKnn", "glic");

    DynamicKnn() = default;
    DynamicKnn(const ov::OutputVector& inputs, const Attributes& attributes)
        : Op(inputs), attributes_(attributes) {
        constructor_validate_and_infer_types();
    }
    DynamicKnn(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node)
        : DynamicKnn(inputs, Attributes(node)) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<DynamicKnn>(inputs, attributes_);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override { return attributes_.visit(visitor); }

    void validate_and_infer_types() override {
        check_inputs(*this, 2);
        ov::Dimension images, groups;
        const ov::PartialShape& x = get_input_partial_shape(0);
        if (x.rank().is_static() && x.size() == 4) {
            images = x[0];
            if (x[1].is_static() && x[2].is_static()) {
                groups = x[1].get_length() / kWindow * (x[2].get_length() / kWindow);
            }
        }
        set_output_type(0, ov::element::i32, {images, groups, kQueries, kWords});
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Dims x(inputs[0]), complexity(inputs[1]);
        glic_dynamic_knn_size size;
        char message[GLIC_MESSAGE_SIZE];
        const int checked = glic_dynamic_knn_check(x.shape(), complexity.shape(), attributes_.sampling,
                                                   attributes_.window, attributes_.sample, &size, message);
        OPENVINO_ASSERT(checked == GLIC_OK, message);
        const int64_t groups = Grid{size.images, size.height, size.width, size.sampling}.groups();
        outputs[0].set_shape(
            {static_cast<size_t>(size.images), static_cast<size_t>(groups), kQueries, kWords});
        const RuntimeThreads threads;
        check_result(glic_dynamic_knn_cpu(&size, element_of(inputs[0], kName), inputs[0].data(),
                                          inputs[1].data<float>(), outputs[0].data<int32_t>(), threads.get()),
                     kName);
        return true;
    }

  private:
    Attributes attributes_;
};

}  // namespace

void add_dynamic_knn(std::vector<ov::Extension::Ptr>* extensions) { add_op<DynamicKnn>(extensions); }

}  // namespace glic
