# The ops, as glic_deploy/ops.json lists them: a folder of plugins_cpp for each family of ops. For every folder F the
# table sets GLIC_OPS_OF_F, GLIC_INSTRUCTION_SETS_OF_F, GLIC_LIBRARIES_OF_F and GLIC_CUDA_OF_F; GLIC_OP_FOLDERS lists
# the folders. A folder that is not listed, a listed folder that is missing and an unknown word end the configuration.
set(GLIC_OP_TABLE ${CMAKE_SOURCE_DIR}/glic_deploy/ops.json)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${GLIC_OP_TABLE})

set(GLIC_KNOWN_INSTRUCTION_SETS portable avx2 avx512 avx512vnni)
set(GLIC_KNOWN_LIBRARIES kernels onnxruntime onnxruntime_cuda openvino tensorrt)

# The elements of a JSON array of the table, as a list; none where there is no such array.
function(glic_table_list result)
  string(JSON array ERROR_VARIABLE missing GET "${table}" ${ARGN})
  set(elements)
  if(NOT missing)
    string(JSON count LENGTH "${array}")
    foreach(index RANGE ${count})
      if(index LESS count)
        string(JSON element GET "${array}" ${index})
        list(APPEND elements ${element})
      endif()
    endforeach()
  endif()
  set(${result} ${elements} PARENT_SCOPE)
endfunction()

# The keys of a JSON object of the table, as a list.
function(glic_table_keys result)
  string(JSON count LENGTH "${table}" ${ARGN})
  set(keys)
  foreach(index RANGE ${count})
    if(index LESS count)
      string(JSON key MEMBER "${table}" ${ARGN} ${index})
      list(APPEND keys ${key})
    endif()
  endforeach()
  set(${result} ${keys} PARENT_SCOPE)
endfunction()

function(glic_check_words folder what known)
  foreach(word ${ARGN})
    if(NOT word IN_LIST ${known})
      list(JOIN ${known} ", " expected)
      message(FATAL_ERROR "glic_deploy/ops.json: ${folder}: ${what} has \"${word}\", expected one of ${expected}")
    endif()
  endforeach()
endfunction()

# The folders beside this file are those of the table and those given: each name stands for one folder.
function(glic_check_folders)
  file(GLOB entries RELATIVE ${CMAKE_CURRENT_LIST_DIR} ${CMAKE_CURRENT_LIST_DIR}/*)
  foreach(entry ${entries})
    if(IS_DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/${entry} AND NOT entry IN_LIST GLIC_OP_FOLDERS AND NOT entry IN_LIST ARGN)
      message(
        FATAL_ERROR "plugins_cpp/${entry} is listed nowhere: add the ops of the folder to glic_deploy/ops.json, or the "
                    "folder to the parts in plugins_cpp/CMakeLists.txt, or remove the folder")
    endif()
  endforeach()
  foreach(folder ${GLIC_OP_FOLDERS} ${ARGN})
    if(NOT IS_DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/${folder})
      message(FATAL_ERROR "plugins_cpp/${folder} does not exist, but is listed: correct the name in "
                          "glic_deploy/ops.json (ops) or plugins_cpp/CMakeLists.txt (parts)")
    endif()
  endforeach()
endfunction()

file(READ ${GLIC_OP_TABLE} table)
glic_table_keys(GLIC_OP_FOLDERS)
foreach(folder ${GLIC_OP_FOLDERS})
  glic_table_keys(GLIC_OPS_OF_${folder} ${folder} ops)
  glic_table_list(GLIC_INSTRUCTION_SETS_OF_${folder} ${folder} instruction_sets)
  glic_table_list(GLIC_LIBRARIES_OF_${folder} ${folder} libraries)
  string(JSON GLIC_CUDA_OF_${folder} ERROR_VARIABLE missing GET "${table}" ${folder} cuda)
  if(missing)
    set(GLIC_CUDA_OF_${folder} OFF)
  endif()
  glic_check_words(${folder} instruction_sets GLIC_KNOWN_INSTRUCTION_SETS ${GLIC_INSTRUCTION_SETS_OF_${folder}})
  glic_check_words(${folder} libraries GLIC_KNOWN_LIBRARIES ${GLIC_LIBRARIES_OF_${folder}})
endforeach()

# The objects of a library's kernels: what the kernels share, and those of the folders that the table gives the library.
function(glic_kernel_objects library result)
  set(objects $<TARGET_OBJECTS:glic_common>)
  foreach(folder ${GLIC_OP_FOLDERS})
    if(library IN_LIST GLIC_LIBRARIES_OF_${folder})
      foreach(part ${folder} ${GLIC_BUILDS_OF_${folder}})
        list(APPEND objects $<TARGET_OBJECTS:glic_${part}>)
      endforeach()
    endif()
  endforeach()
  set(${result} ${objects} PARENT_SCOPE)
endfunction()

# The CUDA sources of all ops that have one: <folder>/cuda/<folder>.cu.
function(glic_cuda_sources result)
  set(sources)
  foreach(folder ${GLIC_OP_FOLDERS})
    if(GLIC_CUDA_OF_${folder})
      list(APPEND sources ${CMAKE_SOURCE_DIR}/plugins_cpp/${folder}/cuda/${folder}.cu)
    endif()
  endforeach()
  set(${result} ${sources} PARENT_SCOPE)
endfunction()

# The flags of each instruction set.
set(GLIC_FLAGS_OF_portable)
set(GLIC_FLAGS_OF_avx2 -mavx2 -mfma -mf16c)
set(GLIC_FLAGS_OF_avx512 -mavx512f -mfma -mf16c)
set(GLIC_FLAGS_OF_avx512vnni -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC's own AVX-512 header sets these warnings off (GCC bug 105593).
  list(APPEND GLIC_FLAGS_OF_avx512 -Wno-maybe-uninitialized -Wno-uninitialized)
endif()

# Adds the objects of a folder's CPU kernels: glic_<folder> of cpu/<folder>.cpp, and glic_<folder>_<isa> of
# cpu/kernel.cpp for each instruction set. Sets GLIC_BUILDS_OF_<folder> to the latter.
macro(glic_add_cpu_kernels folder)
  add_library(glic_${folder} OBJECT ${folder}/cpu/${folder}.cpp)
  target_link_libraries(glic_${folder} PUBLIC glic_common)
  set(GLIC_BUILDS_OF_${folder})
  foreach(isa ${GLIC_INSTRUCTION_SETS_OF_${folder}})
    if(GLIC_X86_KERNELS OR isa STREQUAL "portable")
      add_library(glic_${folder}_${isa} OBJECT ${folder}/cpu/kernel.cpp)
      target_compile_definitions(glic_${folder}_${isa} PRIVATE GLIC_SIMD=${isa})
      target_compile_options(glic_${folder}_${isa} PRIVATE ${GLIC_FLAGS_OF_${isa}})
      target_link_libraries(glic_${folder}_${isa} PUBLIC glic_common)
      list(APPEND GLIC_BUILDS_OF_${folder} ${folder}_${isa})
    endif()
  endforeach()
endmacro()
