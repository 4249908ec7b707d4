// The element types that the table of ops knows.
#ifndef GLIC_COMMON_TYPE_H
#define GLIC_COMMON_TYPE_H

namespace glic {

// kT: the type that a node's maps have. The kernel gets it as `element`.
enum class Type { kT, kFloat32, kInt32, kInt8 };

}  // namespace glic

#endif
