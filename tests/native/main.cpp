#include "check.h"

int main(int argc, char** argv) {
    if (argc == 4 && std::strcmp(argv[1], "run") == 0) {
        if (glic_select_isa(argv[2]) != GLIC_OK) return std::fprintf(stderr, "%s is not here\n", argv[2]), 2;
        test::run(std::atoi(argv[3]));
        return 0;
    }
    if (argc != 1) return std::fprintf(stderr, "usage: %s [run ISA TIMES]\n", argv[0]), 2;
    for (const char* isa : {"avx2", "avx512", "neon", "neondotprod", "neoni8mm"}) {
        if (glic_select_isa(isa) != GLIC_OK) continue;
        test::compare();
        std::printf("%s\n", isa);
    }
}
