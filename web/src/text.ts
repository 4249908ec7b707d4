// Numbers and bytes as they stand in messages.

/** Returns a number with commas between groups of three digits. */
export function grouped(value: number): string {
  return value.toLocaleString("en-US");
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function hex32(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}

/** Returns bytes as Python shows them: printable ASCII as it is, everything else escaped. */
export function shown(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) =>
    byte >= 32 && byte < 127 ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`,
  ).join("");
}
