// SPDX-License-Identifier: Apache-2.0
// A whole runner for `fp8ref check --pipe`: scaled_mm of E4M3 codes, exact sums, epilogue a_b. Standard library only.
// The protocol is in spec/exchange.md, what is computed in spec/scaled_mm.md.
//
//   c++ -O2 -std=c++17 -ffp-contract=off runner.cpp -o runner && fp8ref check scaled_mm --pipe ./runner

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

struct Tensor {
  std::string type;
  std::vector<std::size_t> shape;
  std::string bytes;

  std::size_t count() const { return std::accumulate(shape.begin(), shape.end(), std::size_t{1}, std::multiplies<>()); }
};

struct Case {
  std::string number, function;
  std::map<std::string, std::string> values;  // texts and numbers
  std::map<std::string, Tensor> tensors;
};

struct Unsupported {
  std::string why;
};

// One case; false at the end of the input. [PIPE-CASE]
bool read_case(Case& out) {
  std::string line, kind, name, value;
  while (std::getline(std::cin, line) && line != "end") {
    std::istringstream words(line);
    words >> kind >> name;
    if (kind == "case") {
      out.number = name;
      words >> out.function;
    } else if (kind == "tensor") {
      Tensor& tensor = out.tensors[name];
      std::size_t bytes = 0, rank = 0;
      words >> tensor.type >> bytes >> rank;
      tensor.shape.resize(rank);
      for (std::size_t& size : tensor.shape) words >> size;
      tensor.bytes.resize(bytes);
      std::cin.read(tensor.bytes.data(), static_cast<std::streamsize>(bytes));
      std::cin.get();  // the newline after the bytes
    } else {
      std::getline(words >> std::ws, value);
      out.values[name] = value;
    }
  }
  return std::cin.good();
}

// A finite E4M3 code as an integer times 2^-9; codes 0x7F and 0xFF are NaN. [MM-EXACT]
bool is_nan(unsigned char code) { return (code & 0x7F) == 0x7F; }
std::int64_t integer(unsigned char code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  const std::int64_t magnitude = exponent ? std::int64_t{8 + fraction} << (exponent - 1) : fraction;
  return code & 0x80 ? -magnitude : magnitude;
}

// RN32 of the exact sum: an integer times 2^-18, rounded once by the conversion; zero is +0. [MM-ZERO] [MM-NAN]
float dot(const unsigned char* a, const unsigned char* b, std::size_t count) {
  std::int64_t sum = 0;
  for (std::size_t k = 0; k < count; ++k) {
    if (is_nan(a[k]) || is_nan(b[k])) return NAN;
    sum += integer(a[k]) * integer(b[k]);
  }
  return std::ldexp(static_cast<float>(sum), -18);
}

// A float32, bfloat16 or float16 number, widened exactly; of a single one, that one.
float number(const Tensor& tensor, std::size_t i) {
  if (tensor.count() == 1) i = 0;
  std::uint32_t bits = 0;
  if (tensor.type == "float32") {
    std::memcpy(&bits, &tensor.bytes[4 * i], 4);
  } else {
    std::memcpy(&bits, &tensor.bytes[2 * i], 2);
    if (tensor.type == "float16") {
      const int exponent = bits >> 10 & 31, fraction = bits & 1023;
      float value = exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(1.0f * fraction, -24);
      if (exponent == 31) value = fraction ? NAN : INFINITY;
      return bits & 0x8000 ? -value : value;
    }
    bits <<= 16;
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// Bits of x in a 16-bit format, to nearest, ties to even. `least` is the exponent of the smallest number. [MM-OUT]
std::uint16_t narrow(float x, int fraction_bits, int least, std::uint16_t infinity) {
  if (std::isnan(x)) return static_cast<std::uint16_t>(infinity | infinity >> 1);
  const unsigned sign = std::signbit(x) ? 0x8000 : 0;
  if (x == 0 || std::isinf(x)) return static_cast<std::uint16_t>(sign | (x == 0 ? 0 : infinity));
  int exponent = 0;
  std::frexp(x, &exponent);
  const int unit = std::max(exponent - 1 - fraction_bits, least);  // of the last place
  // The scaling is exact in double. A carry out of the fraction steps the exponent, as it should.
  const auto fraction = static_cast<std::int64_t>(std::nearbyint(std::ldexp(std::fabs(double{x}), -unit)));
  const std::int64_t bits = (std::int64_t{unit - least} << fraction_bits) + fraction;
  return static_cast<std::uint16_t>(sign | static_cast<unsigned>(std::min<std::int64_t>(bits, infinity)));
}

void append(std::string& out, float x, const std::string& type) {
  if (type == "float32") {
    out.append(reinterpret_cast<const char*>(&x), 4);
  } else {
    const std::uint16_t bits = type == "bfloat16" ? narrow(x, 7, -133, 0x7F80) : narrow(x, 10, -24, 0x7C00);
    out.append(reinterpret_cast<const char*>(&bits), 2);
  }
}

void expect(bool holds, const std::string& why) {
  if (!holds) throw Unsupported{why};
}

// A number or one for each row; block scales are somebody else's.
void expect_scale(const Tensor& scale, std::size_t rows) {
  const bool wide = scale.type == "float32" || scale.type == "bfloat16" || scale.type == "float16";
  expect(wide, "scales of type " + scale.type);
  expect(scale.count() == 1 || scale.shape == std::vector<std::size_t>{rows, 1}, "block scales");
}

// out = RN_out(RN32(a_scale * RN32(b_scale * acc) + bias)), [MM-EPILOGUE-A-B] [MM-BIAS]
std::string scaled_mm(Case& asked, const std::string& type) {
  const Tensor &a = asked.tensors["a"], &b = asked.tensors["b"];
  const Tensor &a_scale = asked.tensors["a_scale"], &b_scale = asked.tensors["b_scale"];
  const std::size_t rows = a.shape[0], columns = b.shape[0], depth = a.shape[1];
  const bool biased = asked.tensors.count("bias") != 0;
  expect(a.type == "float8_e4m3fn" && b.type == "float8_e4m3fn", "codes that are not E4M3");
  expect_scale(a_scale, rows);
  expect_scale(b_scale, columns);
  std::string out;
  for (std::size_t m = 0; m < rows; ++m) {
    for (std::size_t n = 0; n < columns; ++n) {
      const auto* left = reinterpret_cast<const unsigned char*>(a.bytes.data()) + m * depth;
      const auto* right = reinterpret_cast<const unsigned char*>(b.bytes.data()) + n * depth;
      const float y = number(b_scale, n) * dot(left, right, depth);
      const float z =
          biased ? std::fma(number(a_scale, m), y, number(asked.tensors["bias"], n)) : number(a_scale, m) * y;
      append(out, z, type);
    }
  }
  return out;
}

int main() {
  std::string line;
  std::getline(std::cin, line);
  if (line != "fp8ref-pipe 1") {
    std::cerr << "expected 'fp8ref-pipe 1', got '" << line << "'\n";
    return 1;
  }
  std::cout << "fp8ref-pipe 1\nfunctions scaled_mm\nfact device one core of a CPU\nend\n" << std::flush;
  for (Case asked; read_case(asked); asked = {}) {
    try {
      expect(asked.function == "scaled_mm", "only scaled_mm");
      expect(asked.values["accumulate"] == "exact", "only accumulate exact");
      expect(asked.values["epilogue"] == "a_b", "only epilogue a_b");
      const std::string type = asked.values["out_dtype"];
      expect(type == "float32" || type == "bfloat16" || type == "float16", "outputs of type " + type);
      const std::string out = scaled_mm(asked, type);  // split_k changes no bit of an exact sum
      std::cout << "result " << asked.number << "\ntensor out " << type << ' ' << out.size() << " 2 "
                << asked.tensors["a"].shape[0] << ' ' << asked.tensors["b"].shape[0] << '\n'
                << out << "\nend\n";
    } catch (const Unsupported& unsupported) {
      std::cout << "unsupported " << asked.number << ' ' << unsupported.why << '\n';
    }
    std::cout << std::flush;
  }
}
