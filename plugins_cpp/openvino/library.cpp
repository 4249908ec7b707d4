// What OpenVINO calls when the library is added to a Core.
#include "op.h"

namespace {

std::vector<ov::Extension::Ptr> extensions() {
    std::vector<ov::Extension::Ptr> all;
    for (const auto add :
         {glic::add_dynamic_knn, glic::add_scatter_aggregate, glic::add_transform_ops, glic::add_integer_ops})
        add(&all);
    return all;
}

}  // namespace

OPENVINO_CREATE_EXTENSIONS(extensions());
