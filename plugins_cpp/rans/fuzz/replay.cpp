// Stands in for libFuzzer where only g++ is at hand: runs a target over the files of a folder and, until the
// time is up, over mutations of them that are the same in every run.
//
//     replay FOLDER SECONDS
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "input.h"

namespace {

using Bytes = std::vector<uint8_t>;

std::vector<Bytes> read_all(const char* folder) {
    std::set<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.insert(entry.path());
    std::vector<Bytes> all;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        all.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return all;
}

Bytes mutated(Bytes bytes, fuzz::Noise& noise) {
    for (uint32_t changes = 1 + noise() % 4; changes > 0; --changes) {
        const size_t place = bytes.empty() ? 0 : noise() % bytes.size();
        switch (noise() % 4) {
            case 0:
                bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(place),
                             static_cast<uint8_t>(noise()));
                break;
            case 1:
                bytes.resize(place);
                break;
            default:
                if (!bytes.empty()) bytes[place] ^= static_cast<uint8_t>(1u << noise() % 8);
        }
    }
    return bytes;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: replay FOLDER SECONDS\n"), 2;
    const std::vector<Bytes> corpus = read_all(argv[1]);
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(argv[2]));
    fuzz::Noise noise(1);
    size_t runs = 0;
    for (const Bytes& bytes : corpus) runs += LLVMFuzzerTestOneInput(bytes.data(), bytes.size()) == 0;
    while (!corpus.empty() && std::chrono::steady_clock::now() < end) {
        const Bytes bytes = mutated(corpus[noise() % corpus.size()], noise);
        runs += LLVMFuzzerTestOneInput(bytes.data(), bytes.size()) == 0;
    }
    std::printf("%zu runs over %zu files and mutations of them\n", runs, corpus.size());
}
