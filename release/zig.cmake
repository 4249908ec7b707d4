# Builds for GLIC_ZIG_TARGET, for example aarch64-linux-gnu.2.28, with the compiler GLIC_ZIG of PyPI's wheel ziglang. That
# compiler carries the headers and stubs of each target, and links its C++ library statically.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES GLIC_ZIG GLIC_ZIG_TARGET)

if(NOT GLIC_ZIG_TARGET MATCHES "^(x86_64|aarch64)-(linux|macos|windows)(-|$)")
  message(FATAL_ERROR "GLIC_ZIG_TARGET is \"${GLIC_ZIG_TARGET}\", expected for example aarch64-linux-gnu.2.28")
endif()
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
set(names_linux Linux)
set(names_macos Darwin)
set(names_windows Windows)
set(CMAKE_SYSTEM_NAME ${names_${CMAKE_MATCH_2}})

set(CMAKE_CXX_COMPILER ${GLIC_ZIG})
# Stripped, also where CMake tries the compiler: for anything else, zig would compile its C++ library in a second form.
set(CMAKE_CXX_COMPILER_ARG1 "c++ -target ${GLIC_ZIG_TARGET} -s")
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  set(GLIC_CPU_MODEL ${CMAKE_CURRENT_LIST_DIR}/cpu_model.cpp)
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY NEVER) # no library of the building machine
