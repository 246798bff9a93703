/** The levels of a value that holds others, for `SelfDelimitingValues`. */

/** What a level may hold, beside any values. */
export const Level = {
  any: 0,
  /** Numbers, and nothing that becomes one by a conversion. */
  numbers: 1,
  texts: 2,
  /** Texts that are the keys of a record. */
  keys: 3,
  /** The library may read it a second time. */
  twice: 4,
  /** Members of a `Set`, or keys and values of a `Map` in turns. */
  set: 5,
  map: 6,
} as const

/** Values still to come at a level that goes on up to a break: in an array, and in a map. */
export const open: number = -1
export const openMap: number = -2
/** The same in a map, where a value comes next. */
export const openMapValue: number = -3
