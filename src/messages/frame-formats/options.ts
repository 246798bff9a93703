/** The options of a frame format. Their types refuse combinations that make no sense. */

/** The bytes of a mark: a string of ASCII, or bytes. */
export type Mark = string | Uint8Array

/** Order of bytes: the most significant byte first, or last. */
export type Endian = 'big' | 'little'

/** Bytes of a number; of a decimal or hexadecimal one, digits. */
export type FieldWidth = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8

/** The length of a frame, as a field of it. */
export interface LengthField {
  /**
   * Form of the number: an unsigned integer, the unsigned LEB128 of Protocol Buffers, or digits.
   *
   * @default 'uint'
   */
  readonly as?: 'uint' | 'varint' | 'decimal' | 'hex'
  /** Bytes of the field, or number of digits. Without it, a varint, or digits up to `until`. */
  readonly bytes?: FieldWidth
  /** The mark after a variable number of digits. Without it, the number of digits is fixed. */
  readonly until?: string
  /**
   * Maximum bytes of a varint, or of digits before `until`.
   *
   * @default 5, or 10 digits
   */
  readonly maxBytes?: number
  /**
   * Position of the field in the frame.
   *
   * @default after `start`
   */
  readonly at?: number
  /**
   * Position of the body in the frame.
   *
   * @default after the field
   */
  readonly header?: number
  /**
   * The bytes that the number counts: all bytes after the field, the whole frame, or the body alone.
   *
   * @default 'rest'
   */
  readonly counts?: 'rest' | 'frame' | 'body'
  /**
   * Bytes of the frame that the number does not count, beside those of `counts`.
   *
   * @default 0
   */
  readonly plus?: number
  /**
   * A bit mask: the bits of the field that contain the number. The lowest of them counts one.
   *
   * @default all
   */
  readonly mask?: number
  /**
   * Byte order of the number.
   *
   * @default `endian` of the frame
   */
  readonly endian?: Endian
}

/** A checksum: the last bytes before `end` or the delimiter, or those after the delimiter. */
export interface Checksum {
  /** Computes it. Cio takes the result modulo the width. */
  readonly of: (bytes: Uint8Array) => number
  /** Its bytes, or its digits. An integer has at most four. */
  readonly bytes: FieldWidth
  /**
   * Form of the number. Hexadecimal digits are sent as capitals, and read in either case.
   *
   * @default 'uint'
   */
  readonly as?: 'uint' | 'decimal' | 'hex'
  /**
   * The bytes that it covers: from the first byte, from after `start`, or the body. Except for the
   * body, these include a delimiter that stands before it.
   *
   * @default 'frame'
   */
  readonly over?: 'frame' | 'header' | 'body'
  /** A mark before it that it does not cover, such as `*` of NMEA. Without it, there is none. */
  readonly before?: Mark
  /**
   * Whether it stands after the delimiter, as in `STX … ETX LRC`; `end` may then follow it.
   *
   * @default false
   */
  readonly afterDelimiter?: boolean
  /**
   * Byte order of the number.
   *
   * @default `endian` of the frame
   */
  readonly endian?: Endian
}

/** Byte stuffing: a flag between frames, and an escape before each byte that may not stand there. */
export interface Stuffing {
  /** The byte before and after each frame; with a `start`, only after it. */
  readonly flag: number
  /** The byte before each escaped byte. */
  readonly escape: number
  /** The value for the exclusive or that changes an escaped byte. Without it, give `map`. */
  readonly xor?: number
  /** The byte that stands for each escaped byte. Without it, give `xor`. */
  readonly map?: Readonly<Record<number, number>>
  /** Further bytes to escape when sending. Without it, Cio escapes only the flag and the escape. */
  readonly also?: readonly number[]
}

/**
 * The length of the frame that begins with these bytes, whether or not all of it has arrived;
 * `undefined` while that cannot be known. It sees at most 256 bytes at first, and then more. `kept`
 * is an empty object for each frame, to remember what has been looked at.
 */
export type Measure = (bytes: Buffer, kept: Record<string, number>) => number | undefined

/** All options of a frame format. One of the first six gives its kind. */
export interface FormatOptions {
  /**
   * A length before each frame. A number is its width in bytes, and counts what follows it;
   * `varint` is the unsigned LEB128 of Protocol Buffers.
   *
   * @default 4
   */
  readonly length?: FieldWidth | 'varint' | LengthField
  /**
   * The delimiter after each frame, or several: the first that is complete ends the frame.
   * Without it, frames have a length.
   */
  readonly delimiter?: Mark | readonly Mark[]
  /** Size of every frame in bytes, with its marks and checksum. Without it, frames have a length. */
  readonly size?: number
  /** Byte stuffing. Without it, bytes stand for themselves. */
  readonly stuffing?: 'slip' | 'hdlc' | 'cobs' | 'dle' | Stuffing
  /** A function that finds the length of a frame. Without it, the other options say it. */
  readonly measure?: Measure
  /**
   * Several formats, chosen by their `start`; a format without `start` comes last. Without it, there is
   * one format.
   */
  readonly oneOf?: readonly OneFramingOptions[]
  /** The bytes that each frame begins with. Without it, a frame may begin with any byte. */
  readonly start?: Mark
  /** The bytes that each frame ends with. Without it, a frame may end with any byte. */
  readonly end?: Mark
  /** A checksum at the end of each frame. Without it, there is none. */
  readonly checksum?: Checksum
  /**
   * Byte order of the length and the checksum: most significant byte first (`big`) or last
   * (`little`).
   *
   * @default 'big'
   */
  readonly endian?: Endian
  /**
   * Whether a message is the whole frame as it is on the wire, and not only its body.
   *
   * @default false
   */
  readonly whole?: boolean
}

/** The search for the next frame after a bad one. */
export interface Resync {
  /**
   * Maximum bytes that are skipped, or checked in vain, between two good frames. With a large one,
   * such as `Infinity`, the search in a flood of marks gives up good frames that bad ones cover.
   *
   * @default 65_536
   */
  readonly maxSkipped?: number
}

/** The options for bad frames, and for frames that do not end. */
export interface FrameFaultOptions {
  /**
   * Searches for the next good frame after a bad one. Without it, a bad frame ends the connection.
   * Needs `start`, `delimiter` or `stuffing`.
   *
   * @default false
   */
  readonly resync?: boolean | Resync
  /**
   * Milliseconds without a byte within a frame. `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly gapTimeout?: number
}

type Kind = 'length' | 'delimiter' | 'size' | 'stuffing' | 'measure' | 'oneOf'
type Around = 'start' | 'end' | 'checksum' | 'endian' | 'whole'
type Without<Names extends Kind | Around> = { readonly [Name in Names]?: never }

/** Frames that a length delimits. */
export type ByLengthOptions = Pick<FormatOptions, 'length' | Around> &
  Without<Exclude<Kind, 'length'>>

/** Frames that a delimiter ends; with a checksum after the delimiter, `end` may follow. */
export type ByDelimiterOptions = Required<Pick<FormatOptions, 'delimiter'>> &
  Pick<FormatOptions, Around> &
  Without<Exclude<Kind, 'delimiter'>> &
  (Without<'end'> | Required<Pick<FormatOptions, 'end' | 'checksum'>>)

/** Frames of one size. */
export type BySizeOptions = Required<Pick<FormatOptions, 'size'>> &
  Pick<FormatOptions, Around> &
  Without<Exclude<Kind, 'size'>>

/** Frames with escaped bytes. */
export type ByStuffingOptions = Required<Pick<FormatOptions, 'stuffing'>> &
  Pick<FormatOptions, 'start' | 'checksum' | 'endian'> &
  Without<Exclude<Kind, 'stuffing'> | 'end' | 'whole'> &
  (Without<'start'> | { readonly stuffing: 'dle' | Stuffing })

/** Frames that a function measures. */
export type ByMeasureOptions = Required<Pick<FormatOptions, 'measure'>> &
  Pick<FormatOptions, Around> &
  Without<Exclude<Kind, 'measure'>>

/** One frame format. */
export type OneFramingOptions =
  ByLengthOptions | ByDelimiterOptions | BySizeOptions | ByStuffingOptions | ByMeasureOptions

/** Several frame formats on one connection. */
export type OneOfOptions = Required<Pick<FormatOptions, 'oneOf'>> &
  Without<Exclude<Kind, 'oneOf'> | Around>

/** A frame format, and the treatment of bad frames. */
export type FramingOptions = (OneFramingOptions | OneOfOptions) & FrameFaultOptions
