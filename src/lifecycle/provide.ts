/** Lets a middleware add a member to the context for its inner middleware. */

/**
 * Sets a member of the context, runs the inner middleware, and restores the previous member
 * afterwards, also after an error. If there was none, the new one stays: it reports to later
 * callers that the connection is closed.
 */
export async function provide<Ctx extends object, Name extends keyof Ctx>(
  ctx: Ctx,
  name: Name,
  value: Ctx[Name],
  run: () => unknown,
): Promise<void> {
  // A member that is not there yet may throw when it is read, as `ctx.messages` does.
  const outer = Object.hasOwn(ctx, name) ? ctx[name] : undefined
  ctx[name] = value
  try {
    await run()
  } finally {
    ctx[name] = outer ?? value
  }
}
