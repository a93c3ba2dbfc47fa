/** The object's own value of that name; nothing that every object inherits. */
export function own<T>(object: Record<string, T>, name: string): T | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

/** Sets an own property, also one named `__proto__`: keys of a caller are data. */
export function setOwn(object: object, name: string, value: unknown): void {
  if (name in Object.prototype) {
    const property = { value, writable: true, enumerable: true, configurable: true }
    Object.defineProperty(object, name, property)
  } else {
    ;(object as Record<string, unknown>)[name] = value
  }
}
