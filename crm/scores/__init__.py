"""How recently, how often and for how much each customer has ordered within a year, in fifths of all who have."""
