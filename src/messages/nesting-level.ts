/** The nesting levels of a value, for `SelfDelimitingValues`. */

/** Restrictions on the values of a level. */
export const Level = {
  any: 0,
  /** Numbers only, without conversions. */
  numbers: 1,
  texts: 2,
  /** Strings only: the keys of a record. */
  keys: 3,
  /** Values that the library may read a second time. */
  twice: 4,
  /** Members of a `Set`, or alternating keys and values of a `Map`. */
  set: 5,
  map: 6,
} as const

/** Marks a level that continues up to a break: an array, or a map before a key. */
export const open: number = -1
export const openMap: number = -2
/** The same in a map before a value. */
export const openMapValue: number = -3
