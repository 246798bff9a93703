/** The types of a method, taken from a remote interface. */

export type Called<Method> = Method extends (...args: infer Args) => unknown ? Args : never
export type Returned<Method> = Method extends (...args: never[]) => infer Result
  ? Awaited<Result>
  : never
/** The result of a call; a method that streams has none. */
export type Result<Method> = [Returned<Method>] extends [never]
  ? never
  : Returned<Method> extends AsyncIterable<unknown>
    ? never
    : Returned<Method>
/** A value of a streamed result. */
export type Value<Method> =
  Returned<Method> extends AsyncIterable<infer Value> | readonly (infer Value)[]
    ? Value
    : Returned<Method>
export type Checked<Method> = [Called<Method>[0]] extends [never] ? unknown : Called<Method>[0]
export type Name<Interface> = keyof Interface & string
